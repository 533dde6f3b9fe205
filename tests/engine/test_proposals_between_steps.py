"""SPEC 6.2: which proposals a Fast R-CNN step sees; 6.1 and 6.3: what its box targets are normalised by.

The images of these runs are as large as the network's input, so that boxes are the same in both frames.
"""

import os

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data import load_dataset_dicts
from frcnn_alt.proposals import ProposalSet

import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from miniature import STEPS, weights_of
from oracles.box_statistics import box_statistics_per_class
from oracles.fast_rcnn_boxes import overlap

ONE, TWO, THREE, FOUR = STEPS
WIDTH, HEIGHT = 112, 84


@pytest.fixture
def run(zf_run):
    return zf_run


def proposals_of(cfg, step, split="TRAIN"):
    return ProposalSet(os.path.join(cfg.OUTPUT_DIR, step, "proposals", cfg.DATASETS[split][0]))


def training_images(cfg):
    return {image["image_id"]: image for image in load_dataset_dicts(cfg.DATASETS.TRAIN[0])}


def as_it_is(image):
    """Whether a training image was not flipped."""
    pixels = torch.from_numpy(read_image(image["file_name"], "BGR").copy()).permute(2, 0, 1)
    assert pixels.shape == image["image"].shape and not torch.equal(pixels, pixels.flip(2))
    flipped = torch.equal(image["image"], pixels.flip(2))
    assert flipped or torch.equal(image["image"], pixels)
    return not flipped


@pytest.mark.parametrize("step, source, other", [(TWO, ONE, THREE), (FOUR, THREE, ONE)])
def test_proposals_are_those_of_the_rpn_step_before(step, source, other, run):
    cfg, steps = run
    own, foreign = proposals_of(cfg, source), proposals_of(cfg, other)
    images = [image for batch in steps[step].batches for image in batch if as_it_is(image)]
    assert images
    for image in images:
        boxes, scores = own[image["image_id"]]
        np.testing.assert_array_equal(image["proposals"].proposal_boxes.tensor, boxes)
        np.testing.assert_array_equal(image["proposals"].objectness_logits, scores)
        assert not np.array_equal(boxes, foreign[image["image_id"]][0])  # regenerated, the earlier ones are not used


def test_flipped_images_have_mirrored_proposals_here(run):
    cfg, steps = run
    own = proposals_of(cfg, ONE)
    images = [image for batch in steps[TWO].batches for image in batch if not as_it_is(image)]
    assert images
    for image in images:
        x1, y1, x2, y2 = own[image["image_id"]][0].T
        seen = image["proposals"].proposal_boxes.tensor.numpy()
        np.testing.assert_allclose(seen, np.stack([WIDTH - x2, y1, WIDTH - x1, y2], axis=1), atol=1e-4)


@pytest.mark.parametrize("step", [ONE, THREE])
@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_all_anchors_then_nms_then_2000(step, split, run):
    """The final network's own limits (here 20 and 5) are not those of the proposals between steps."""
    cfg, steps = run
    found = proposals_of(cfg, step, split)
    dicts = load_dataset_dicts(cfg.DATASETS[split][0])
    assert len(found) == len(dicts) > 0
    counts = []
    for image in dicts:
        boxes, scores = found[image["image_id"]]
        assert (np.diff(scores) <= 0).all()
        # Once in the test suite is enough for the quadratic oracle; the others check the counts.
        if image is dicts[0]:
            assert max(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]) <= 0.7 + 1e-5
        counts.append(len(boxes))
    assert min(counts) > 20 and max(counts) <= 2000
    assert (found.metadata["pre_nms_topk"], found.metadata["post_nms_topk"]) == (1000000, 2000)
    assert found.metadata["nms_threshold"] == 0.7


def test_the_final_network_has_the_runs_own_limits(run):
    cfg, steps = run
    for step in (TWO, FOUR):
        assert steps[step].cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN == 2000
    final = get_cfg()
    final.merge_from_file(f"{cfg.OUTPUT_DIR}/config.yaml")
    assert (final.MODEL.RPN.PRE_NMS_TOPK_TEST, final.MODEL.RPN.POST_NMS_TOPK_TEST) == (20, 5)
    assert final.MODEL.META_ARCHITECTURE == "FasterRCNN" and not final.MODEL.LOAD_PROPOSALS


@pytest.mark.parametrize("step", [TWO, FOUR])
def test_ground_truth_boxes_are_among_the_regions(step, run):
    """Far fewer than 16 regions of an image are foreground in these runs, so that sampling leaves none of them out."""
    cfg, steps = run
    images = training_images(cfg)
    assert len(steps[step].regions) == sum(len(batch) for batch in steps[step].batches)
    for image_id, regions in steps[step].regions:
        foreground = regions.gt_classes < cfg.MODEL.ROI_HEADS.NUM_CLASSES
        assert foreground.sum() < 16
        boxes = regions.proposal_boxes.tensor[foreground].cpu().numpy()
        for annotation in images[image_id]["annotations"]:
            x1, y1, x2, y2 = annotation["bbox"]
            ways = ([x1, y1, x2, y2], [WIDTH - x2, y1, WIDTH - x1, y2])
            assert any(np.abs(boxes - way).max(axis=1).min() < 1e-3 for way in ways), image_id


def statistics_by_hand(cfg, source):
    proposals, images = proposals_of(cfg, source), training_images(cfg).values()
    return box_statistics_per_class(
        [proposals[image["image_id"]][0] for image in images],
        [np.array([a["bbox"] for a in image["annotations"]]) for image in images],
        [[a["category_id"] for a in image["annotations"]] for image in images],
        cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        width=WIDTH,
    )


@pytest.mark.parametrize("step, source", [(TWO, ONE), (FOUR, THREE)])
def test_statistics_are_measured_anew_on_the_steps_own_proposals(step, source, run):
    cfg, steps = run
    mean, std = statistics_by_hand(cfg, source)
    transform = "roi_heads.box_predictor.box2box_transform"
    for state in (steps[step].began, weights_of(cfg.OUTPUT_DIR, step)):  # and they stand still while it trains
        np.testing.assert_allclose(state[f"{transform}.mean"], mean, atol=1e-5)
        np.testing.assert_allclose(state[f"{transform}.std"], np.maximum(std, 1e-4), atol=1e-5)
    assert np.abs(std - 1).max() > 0.5


def test_rpn_statistics_depend_on_the_training_set_alone(run):
    """MATLAB measures in both RPN steps; anchors and objects being the same, the two agree."""
    cfg, steps = run
    for name in ("mean", "std"):
        key = f"proposal_generator.box2box_transform.{name}"
        assert torch.equal(steps[ONE].began[key], steps[THREE].began[key])
        assert torch.equal(steps[THREE].began[key], read_checkpoint(f"{cfg.OUTPUT_DIR}/model_final.pth")["model"][key])
    assert (steps[ONE].began["proposal_generator.box2box_transform.std"] < 0.9).all()


def test_step_4_continues_step_2s_predictor_in_normalised_units(run):
    """The same normalised deltas mean slightly other boxes than at the end of step 2: t = output * std + mean.

    MATLAB loads predictors with std and mean folded in, and takes their output for normalised; that is further off.
    """
    cfg, steps = run
    predictor = "roi_heads.box_predictor"
    two, four = weights_of(cfg.OUTPUT_DIR, TWO), steps[FOUR].began
    torch.manual_seed(0)
    features = torch.randn(50, cfg.MODEL.ROI_BOX_HEAD.FC_DIM)

    def outputs(state):
        return features @ state[f"{predictor}.bbox_pred.weight"].T + state[f"{predictor}.bbox_pred.bias"]

    def folded(output, state):
        mean, std = (state[f"{predictor}.box2box_transform.{name}"].flatten() for name in ("mean", "std"))
        return output * std + mean

    assert torch.equal(outputs(two), outputs(four))
    before = folded(outputs(two), two)
    ours, matlabs = folded(outputs(four), four), folded(folded(outputs(four), two), four)
    shift = (ours - before).abs().max().item()
    assert 0 < shift < 0.2  # of a region's side, or of a logarithm of sides
    assert (matlabs - before).abs().mean() > (ours - before).abs().mean()
