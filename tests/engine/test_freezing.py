"""Freezing by component and by name, and normalisation layers that stand still with what they belong to."""

from frcnn_alt import get_cfg
from frcnn_alt.engine.freezing import freeze, hold_frozen_norms

import pytest
import torch
from torch import nn


def small_model():
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False)),
            "roi_heads": nn.ModuleDict({"box_head": nn.Linear(2, 2), "mask": nn.BatchNorm2d(2)}),
        }
    )


def frozen(components=(), patterns=()):
    cfg, model = get_cfg(), small_model()
    cfg.MODEL.FREEZE_COMPONENTS, cfg.MODEL.FREEZE_PATTERNS = components, patterns
    freeze(model, cfg)
    return model


def trained_names(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_named_submodules_only():
    assert trained_names(frozen(["backbone", "roi_heads.box_head"])) == ["roi_heads.mask.weight", "roi_heads.mask.bias"]


def test_patterns_are_searched_in_the_names_of_parameters():
    model = frozen(patterns=[r"backbone\.\d+\.weight", "bias$"])
    assert trained_names(model) == ["roi_heads.box_head.weight", "roi_heads.mask.weight"]
    assert trained_names(frozen(patterns=["of another step"])) == trained_names(small_model())


@pytest.mark.parametrize(
    "components, patterns, message",
    [
        (["neck"], [], "FREEZE_COMPONENTS.*no 'neck'; it has backbone, roi_heads"),
        ([], ["*."], "FREEZE_PATTERNS.*'\\*.'"),
    ],
)
def test_what_cannot_be_frozen_is_named_with_its_key(components, patterns, message):
    with pytest.raises(ValueError, match=message):
        frozen(components, patterns)


@pytest.mark.parametrize("components, held", [([], []), (["backbone"], ["backbone.1", "backbone.2"])])
def test_norms_of_frozen_modules_do_not_move_and_others_do(components, held):
    model = frozen(components).train()
    names = {module: name for name, module in model.named_modules()}
    assert [names[layer] for layer in hold_frozen_norms(model)] == held
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(3, 2, 4, 4) + 5
    model["roi_heads"]["mask"](model["backbone"](images))
    moved = {
        name.rsplit(".", 1)[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"backbone.1", "backbone.2", "roi_heads.mask"} - set(held)


def test_a_norm_with_one_trained_parameter_is_not_held():
    model = frozen(patterns=[r"backbone\.1\.weight"]).train()
    assert hold_frozen_norms(model) == []
