"""Freezing, and what a checkpoint holds."""

from frcnn_alt.engine.step_trainer import freeze_components

import pytest
from torch import nn


def _model():
    return nn.ModuleDict(
        {
            "backbone": nn.Linear(2, 2),
            "roi_heads": nn.ModuleDict({"box_head": nn.Linear(2, 2), "mask": nn.Linear(1, 1)}),
        }
    )


def test_freezing_takes_the_named_submodules_only():
    model = _model()
    freeze_components(model, ["backbone", "roi_heads.box_head"])
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "roi_heads.mask.weight",
        "roi_heads.mask.bias",
    ]


def test_unknown_component_names_the_key():
    with pytest.raises(ValueError, match="FREEZE_COMPONENTS.*neck"):
        freeze_components(_model(), ["neck"])
