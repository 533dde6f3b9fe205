"""Whole runs that meet NaN: they stop in the step where it is, or skip it, and go on as if nothing had been."""

import json
import os

from frcnn_alt.engine import StepTrainer
from frcnn_alt.engine.nonfinite import NonFiniteError
from frcnn_alt.engine.saved_batch import read_batch

import pytest
import torch
from miniature import final_hash, run, run_until, six_iterations

NAN = float("nan")


def spoil(monkeypatch, step, iterations):
    """Make the output of a layer NaN in some iterations of one step."""
    stock = StepTrainer.build_model

    def build_model(trainer, cfg):
        model = stock(trainer, cfg)
        layer = dict(model.named_modules())["roi_heads.box_head.fc7"]

        def hook(module, inputs, output):
            spoilt = cfg.OUTPUT_DIR.endswith(step) and getattr(trainer, "iter", -1) in iterations and module.training
            return output * NAN if spoilt else None

        layer.register_forward_hook(hook)
        return model

    def without_detector(trainer, cfg):
        return build_model(trainer, cfg) if cfg.OUTPUT_DIR.endswith(step) else stock(trainer, cfg)

    monkeypatch.setattr(StepTrainer, "build_model", without_detector)


def test_a_run_stops_in_step_2_and_goes_on_once_it_is_mended(shapes, undisturbed_six, tmp_path, monkeypatch):
    cfg = six_iterations(shapes, tmp_path / "run")
    spoil(monkeypatch, "step2_fast_rcnn", [3])
    told = r"iteration 3: loss_cls is nan.*Images: /.*\.jpg.* finite: the output of roi_heads.box_head.fc7 "
    with pytest.raises(NonFiniteError, match=rf"step2_fast_rcnn, {told}\(Linear\).*model_0000002.pth, is from before"):
        run(cfg)
    saved = read_batch(os.path.join(cfg.OUTPUT_DIR, "step2_fast_rcnn", "nonfinite_batch_0000003.pth"))
    assert len(saved["images"]) == 2 and saved["images"][0]["instances"]["gt_boxes"].shape[1] == 4
    assert saved["images"][0]["image"].dtype == torch.uint8 and os.path.isfile(saved["images"][0]["file_name"])
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed_six)


def test_skips_are_counted_and_resumed_exactly(shapes, tmp_path, monkeypatch):
    """A run with skips, and one that stopped, was allowed the skips at its resume, and was cut once more."""
    whole, cut = six_iterations(shapes, tmp_path / "whole"), six_iterations(shapes, tmp_path / "cut")
    spoil(monkeypatch, "step2_fast_rcnn", [2, 3])
    with pytest.raises(NonFiniteError):
        run(cut)
    whole.SOLVER.NONFINITE_SKIPS = cut.SOLVER.NONFINITE_SKIPS = 2
    run(whole)
    run_until(cut, "step2_fast_rcnn", 4, resume=True)
    run(cut, resume=True)
    assert final_hash(cut) == final_hash(whole)
    for cfg in (whole, cut):
        with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
            steps = json.load(file)["steps"]
        assert [step.get("nonfinite_skips") for step in steps] == [None, 2, None, None]
        with open(os.path.join(cfg.OUTPUT_DIR, "step2_fast_rcnn", "metrics.json")) as file:
            assert max(json.loads(line).get("nonfinite_skips", 0) for line in file) == 2
