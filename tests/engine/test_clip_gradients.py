"""Gradient clipping is detectron2's: off in the shipped configs, and in every step once it is switched on."""

import glob
import os

from frcnn_alt import get_cfg
from frcnn_alt.engine import StepTrainer

import pytest
import torch
from miniature import CONFIGS, STEPS, run, tiny_config

LIMIT = 1e-4


@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(CONFIGS, "*.yaml"))), ids=os.path.basename)
@pytest.mark.parametrize("preset", ["", *sorted(glob.glob(os.path.join(CONFIGS, "presets", "*.yaml")))])
def test_it_is_off_in_configs_and_presets(path, preset):
    cfg = get_cfg()
    cfg.merge_from_file(path)
    if preset:
        cfg.merge_from_file(preset)
    assert not cfg.SOLVER.CLIP_GRADIENTS.ENABLED


def largest_gradients(cfg, monkeypatch):
    """Step -> the largest gradient that SGD itself was given, of any iteration."""
    largest = {}
    trainers = []
    stock_init, stock_step = StepTrainer.__init__, torch.optim.SGD.step

    def __init__(trainer, *args, **kwargs):
        stock_init(trainer, *args, **kwargs)
        trainers.append(trainer)

    def step(optimizer, *args, **kwargs):
        name = os.path.basename(trainers[-1].cfg.OUTPUT_DIR)
        values = [p.grad.abs().max().item() for group in optimizer.param_groups for p in group["params"]]
        largest[name] = max(largest.get(name, 0), *values)
        return stock_step(optimizer, *args, **kwargs)

    monkeypatch.setattr(StepTrainer, "__init__", __init__)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    run(cfg)
    return largest


@pytest.mark.parametrize("enabled", [True, False])
def test_it_clips_in_every_step(enabled, shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run", exact=True)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = enabled
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = "value", LIMIT
    cfg.DATASETS.TEST = ()
    largest = largest_gradients(cfg, monkeypatch)
    assert sorted(largest) == sorted(STEPS)
    for value in largest.values():
        assert value <= LIMIT * (1 + 1e-6) if enabled else value > 10 * LIMIT
