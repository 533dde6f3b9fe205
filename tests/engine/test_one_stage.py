"""The schedule "one_stage" in miniature: from its plan to its detections, at one scale and on a pyramid (SPEC 8.8)."""

import json
import os
from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.engine import AlternatingTrainer, ConfigError, StepTrainer, build_schedule, build_trainer
from frcnn_alt.engine.manifest import has_no_effect
from frcnn_alt.report import write_report

import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from miniature import CONFIGS, final_hash, run, run_until, tiny_config, weights_of, write_initial_weights

STEP = "step1_one_stage"
PYRAMID = [
    *("INPUT.MIN_SIZE_TRAIN", (68, 84, 168), "INPUT.MAX_SIZE_TRAIN", 280),
    *("INPUT.MIN_SIZE_TEST", 168, "INPUT.MAX_SIZE_TEST", 280, "MODEL.PYRAMID.SIZES_TEST", (68, 84, 168)),
    *("MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME", (84, 140), "MODEL.PYRAMID.CANONICAL_BOX_SIZE", 32),
]


def config(shapes, folder, overlay="one_stage", *opts):
    """A config over which the overlay is laid first: its pyramid's sizes are the paper's, those here are small."""
    cfg = tiny_config(shapes, folder / "run", weights=str(folder / "initial.pth"), exact=True)
    small = cfg.INPUT.clone()
    cfg.merge_from_file(os.path.join(CONFIGS, "overlays", f"{overlay}.yaml"))
    cfg.INPUT = small
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    cfg.merge_from_list([*(PYRAMID if overlay.endswith("pyramid") else []), *opts])
    return cfg


def detections_of(cfg, shapes):
    final = get_cfg()
    final.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    predictor = DefaultPredictor(final)
    return final, predictor, predictor(read_image(os.path.join(shapes, "JPEGImages", "test_00000.jpg"), "BGR"))


@pytest.mark.parametrize("overlay", ["one_stage", "one_stage_pyramid"])
def test_from_plan_to_detections(overlay, shapes, tmp_path):
    cfg = config(shapes, tmp_path, overlay)
    plan = AlternatingTrainer(cfg).plan()
    assert plan.problems == [] and "in: DenseWindows" in str(plan)
    (entry,) = plan.steps
    assert (entry["name"], entry["kind"], entry["trained"]) == (STEP, "one_stage", ["backbone", "roi_heads"])
    assert (entry["max_iter"], entry["ims_per_batch"]) == (4, 2)
    assert "AP50" in run(cfg)["bbox"]
    with open(os.path.join(cfg.OUTPUT_DIR, STEP, "metrics.json")) as file:
        last = [json.loads(line) for line in file][-1]
    assert {name for name in last if name.startswith("loss_")} == {"loss_cls", "loss_box_reg"}
    initial, state = read_checkpoint(cfg.MODEL.WEIGHTS)["model"], weights_of(cfg.OUTPUT_DIR, STEP)
    assert all(not torch.equal(state[name], initial[name]) for name in initial)  # all of ZF-net is trained
    transform = "roi_heads.box_predictor.box2box_transform"
    assert state[f"{transform}.std"].min() > 0.01 and (state[f"{transform}.std"] < 0.9).any()
    final_state = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    assert set(final_state) == set(state) and all(torch.equal(final_state[name], state[name]) for name in state)

    final, predictor, output = detections_of(cfg, shapes)
    assert final.MODEL.PROPOSAL_GENERATOR.NAME == "DenseWindows" and len(output["instances"]) > 0
    assert (predictor.model.pyramid is None) == (overlay == "one_stage")
    assert output["instances"].pred_boxes.tensor.max() <= 112
    page = Path(write_report(cfg.OUTPUT_DIR)).read_text("utf-8")
    assert "Fast R-CNN on dense" in page and "DenseWindows" in page


def test_training_samples_regions_of_the_windows(shapes, tmp_path, monkeypatch):
    """64 of an image, at most 16 foreground, of the windows of the image at whatever size it is shown (SPEC 5.2)."""
    cfg = config(shapes, tmp_path, "one_stage_pyramid", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 0)
    seen = []
    built = StepTrainer.build_model

    def build_model(self, cfg):
        model = built(self, cfg)
        sample = model.roi_heads.label_and_sample_proposals

        def recording(proposals, targets):
            sampled = sample(proposals, targets)
            seen.extend(zip(proposals, targets, sampled))
            return sampled

        model.roi_heads.label_and_sample_proposals = recording
        return model

    monkeypatch.setattr(StepTrainer, "build_model", build_model)
    run(cfg)
    assert len(seen) == 8 and len({proposals.image_size for proposals, _, _ in seen}) > 1
    for proposals, targets, sampled in seen:
        assert len(proposals) == 6 * 7 * 9  # of 84 x 112 pixels
        candidates = torch.cat([proposals.proposal_boxes.tensor, targets.gt_boxes.tensor])
        for box in sampled.proposal_boxes.tensor:
            assert (candidates == box).all(dim=1).any()
        foreground = sampled.gt_classes < cfg.MODEL.ROI_HEADS.NUM_CLASSES
        assert 0 < foreground.sum() <= 16 and len(sampled) <= 64


def test_a_run_that_is_cut_ends_with_the_same_weights(shapes, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, cut = config(shapes, tmp_path / "a"), config(shapes, tmp_path / "b")
    run(whole)
    run_until(cut, "", 3)
    run(cut, resume=True)
    assert final_hash(cut) == final_hash(whole)


def test_the_single_step_trainer_measures_windows_too(shapes, tmp_path):
    (tmp_path / "a").mkdir()
    by_schedule, alone = config(shapes, tmp_path / "a"), config(shapes, tmp_path, "one_stage", "SOLVER.MAX_ITER", 1)
    alone.TRAINER, alone.DATASETS.TEST = "SingleStepTrainer", ()
    run(by_schedule)
    trainer = build_trainer(alone)
    assert trainer.plan().problems == []
    os.makedirs(alone.OUTPUT_DIR)
    trainer.train()
    state = read_checkpoint(os.path.join(alone.OUTPUT_DIR, "model_final.pth"))["model"]
    key = "roi_heads.box_predictor.box2box_transform.std"
    assert torch.equal(state[key], weights_of(by_schedule.OUTPUT_DIR, STEP)[key])


def test_a_run_goes_on_with_other_chunks():
    """They are for memory; a pyramid is not."""
    assert has_no_effect("MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST") and not has_no_effect("MODEL.PYRAMID.SIZES_TEST")


def test_the_papers_numbers_of_the_overlays():
    """Table 10: solver of a Fast R-CNN; scales 480 to 1200, longest side 2000, windows of a 600 x 1000 image."""
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(CONFIGS, "zf_4step.yaml"))
    cfg.merge_from_file(os.path.join(CONFIGS, "overlays", "one_stage_pyramid.yaml"))
    (step,) = build_schedule(cfg).steps
    assert (step.solver, cfg.SCHEDULE.NAME, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING) == ("STEP2", "one_stage", "choice")
    sizes = (480, 576, 688, 864, 1200)
    assert tuple(cfg.INPUT.MIN_SIZE_TRAIN) == tuple(cfg.MODEL.PYRAMID.SIZES_TEST) == sizes
    assert (cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (2000, 1200, 2000)
    assert tuple(cfg.MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME) == (600, 1000)
    assert (cfg.MODEL.PYRAMID.CANONICAL_BOX_SIZE, cfg.MODEL.ANCHOR_GENERATOR.SIZES) == (224, [[128, 256, 512]])


@pytest.mark.parametrize(
    "overlay, opts, message",
    [
        (
            "one_stage",
            ("MODEL.PROPOSAL_GENERATOR.NAME", "FasterRCNNRPN"),
            "FasterRCNNRPN', which has parameters.*Dense",
        ),
        ("one_stage", ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"), "no stored proposals.*'DenseWindows'"),
        ("one_stage", ("SCHEDULE.NAME", "joint"), "step1_joint.*DenseWindows', which has nothing to train"),
        ("one_stage", ("MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST", 0), "BOXES_PER_CHUNK_TEST is 0"),
        ("one_stage_pyramid", ("MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME", ()), "set MODEL.*WINDOW_FRAME to the size"),
        ("one_stage_pyramid", ("INPUT.MIN_SIZE_TEST", 84), "would enlarge.*set that to the largest, 168"),
        ("one_stage_pyramid", ("MODEL.PYRAMID.SIZES_TEST", (0, 84)), r"SIZES_TEST is \(0, 84\)"),
        ("one_stage_pyramid", ("MODEL.PYRAMID.CANONICAL_BOX_SIZE", 0), "CANONICAL_BOX_SIZE is 0"),
        ("one_stage_pyramid", ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"), "META_ARCHITECTURE 'FasterRCNN'"),
        ("one_stage_pyramid", ("MODEL.ROI_HEADS.NAME", "StandardROIHeads"), "ROI_HEADS.NAME 'FasterRCNNROIHeads'"),
        ("one_stage_pyramid", ("MODEL.MASK_ON", True), "MASK_ON"),
        ("one_stage_pyramid", ("SCHEDULE.NAME", "unshared"), "'unshared' ends with an RPN"),
    ],
)
def test_keys_that_do_not_go_together_are_told(overlay, opts, message, shapes, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(config(shapes, tmp_path, overlay, *opts))
