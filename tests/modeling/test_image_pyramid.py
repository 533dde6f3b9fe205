"""The image pyramid of a whole detector: what each size shows, and what is detected on it (SPEC 10.3)."""

from pathlib import Path

import frcnn_alt
from frcnn_alt.modeling.image_pyramid import ImagePyramid
from frcnn_alt.modeling.proposal_generator import image_facts

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from oracles.image_size import resized
from PIL import Image
from random_detector import picture

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def pixels(image):
    return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)


def seen_at(sizes, original, shown, max_size=400):
    """What a backbone is given of a picture of `original` (height, width) whose input is resized to `shown`."""
    image = Image.fromarray(picture(*original, seed=3))
    inputs = pixels(image.resize(shown[::-1], Image.BILINEAR))
    given = []

    def backbone(tensor):
        given.append(tensor)
        return {"f": tensor}

    with image_facts([{"image": inputs, "height": original[0], "width": original[1]}]):
        pyramid = ImagePyramid(sizes, max_size).features(backbone, ImageList.from_tensors([inputs]))
    return image, given, pyramid["f"]


@pytest.mark.parametrize("original", [(75, 100), (40, 130), (100, 75)])
def test_sizes_are_those_of_the_original_resized(original):
    shown = resized(*original, 240, 400)
    _, given, feature = seen_at((96, 137, 240), original, shown)
    sizes = [resized(*original, side, 400) for side in (96, 137, 240)]
    assert [tuple(tensor.shape[-2:]) for tensor in given] == sizes
    assert feature.scales == [[(width / shown[1], height / shown[0])] for height, width in sizes]


@pytest.mark.parametrize("original, most", [((75, 100), 0.7), ((600, 800), 1.5)])
def test_it_looks_as_if_the_original_were_resized(original, most):
    """By Pillow, which is antialiased; both ways to shrink the input would do worse for one of these."""
    image, given, _ = seen_at((96, 137), original, resized(*original, 240, 400))
    for tensor in given:
        height, width = tensor.shape[-2:]
        direct = pixels(image.resize((width, height), Image.BILINEAR))
        assert (tensor[0] - direct).abs().mean() < most
        for antialias in (True, False):
            other = torch.nn.functional.interpolate(
                pixels(image.resize(resized(*original, 240, 400)[::-1], Image.BILINEAR))[None],
                size=(height, width),
                mode="bilinear",
                antialias=antialias,
            )
            assert (other[0] - direct).abs().mean() >= (tensor[0] - direct).abs().mean() - 1e-6


def test_features_of_the_input_are_used_for_a_size_that_is_the_inputs():
    inputs = ImageList.from_tensors([torch.rand(3, 60, 80)])
    ran = []
    features = ImagePyramid((30, 60), 100).features(
        lambda tensor: ran.append(tensor.shape) or {"f": tensor}, inputs, {"f": torch.full((1, 3, 60, 80), 7.0)}
    )
    assert ran == [(1, 3, 30, 40)] and (features["f"].levels[1] == 7).all()


def test_each_image_of_a_batch_is_resized_without_its_padding():
    one, two = torch.rand(3, 60, 80), torch.rand(3, 80, 60)
    alone = [ImagePyramid((30,), 100).features(lambda t: {"f": t}, ImageList.from_tensors([t])) for t in (one, two)]
    both = ImagePyramid((30,), 100).features(lambda t: {"f": t}, ImageList.from_tensors([one, two]))["f"].levels[0]
    assert both.shape == (2, 3, 40, 40)
    assert torch.equal(both[0, :, :30, :40], alone[0]["f"].levels[0][0]) and not both[0, :, 30:].any()
    assert torch.equal(both[1, :, :40, :30], alone[1]["f"].levels[0][0]) and not both[1, :, :, 30:].any()


@pytest.mark.parametrize("sizes, max_size", [((), 100), ((0, 50), 100), ((50,), 0)])
def test_sizes_are_positive(sizes, max_size):
    with pytest.raises(ValueError, match="MODEL.PYRAMID.SIZES_TEST is"):
        ImagePyramid(sizes, max_size)


def detector(*overrides):
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-ZF.yaml"))
    cfg.merge_from_file(str(CONFIGS / "overlays" / "one_stage.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 0.06, 24
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32, 64, 96]]
    cfg.MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME = (120, 200)
    cfg.INPUT.MAX_SIZE_TEST = 400
    cfg.merge_from_list(list(overrides))
    torch.manual_seed(2)
    model = build_model(cfg).eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(30)
    return model


def detections(model, inputs, original):
    with torch.no_grad():
        (output,) = model([{"image": inputs, "height": original[0], "width": original[1]}])
    return output["instances"], output["candidate_scores"]


def assert_same(one, other, tolerance):
    (first, scores), (second, others) = one, other
    assert len(first) == len(second) > 20
    torch.testing.assert_close(scores, others, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(first.pred_boxes.tensor, second.pred_boxes.tensor, atol=100 * tolerance, rtol=tolerance)
    assert torch.equal(first.pred_classes, second.pred_classes)


def test_a_pyramid_of_the_inputs_size_alone_changes_nothing():
    inputs = pixels(picture(180, 240, seed=5))
    both = [detections(detector("MODEL.PYRAMID.SIZES_TEST", sizes), inputs, (75, 100)) for sizes in ((), (180,))]
    assert_same(*both, tolerance=1e-6)


@pytest.mark.parametrize("side, chosen", [(1, (90, 120)), (5000, (180, 240))])
def test_if_all_windows_choose_one_size_it_is_as_if_the_image_were_shown_at_it(side, chosen):
    """The smallest of the pyramid, or the largest."""
    inputs = pixels(picture(180, 240, seed=6))
    pyramid = detector("MODEL.PYRAMID.SIZES_TEST", (90, 120, 180), "MODEL.PYRAMID.CANONICAL_BOX_SIZE", side)
    at_sizes = {
        size: torch.nn.functional.interpolate(inputs[None], size=size, mode="bilinear")[0]
        for size in ((90, 120), (120, 160), (180, 240))
    }
    found = detections(pyramid, inputs, (75, 100))
    for size, shown in at_sizes.items():
        alone = detections(detector(), shown, (75, 100))
        if size == chosen:
            assert_same(found, alone, tolerance=1e-5)
        else:
            assert (found[1] - alone[1]).abs().max() > 1e-3


def test_no_hook_is_left_on_the_backbone():
    model = detector("MODEL.PYRAMID.SIZES_TEST", (90, 120))
    detections(model, pixels(picture(120, 160, seed=1)), (60, 80))
    assert not model.backbone._forward_hooks
    assert isinstance(model.backbone(torch.zeros(1, 3, 64, 64))["conv5"], torch.Tensor)


def test_a_proposal_generator_that_learns_is_refused():
    with pytest.raises(ValueError, match="MODEL.PYRAMID.SIZES_TEST.*FasterRCNNRPN has parameters"):
        detector("MODEL.PYRAMID.SIZES_TEST", (90,), "MODEL.PROPOSAL_GENERATOR.NAME", "FasterRCNNRPN")
