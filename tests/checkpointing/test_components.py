"""Hand-over of weights by component."""

from frcnn_alt.checkpointing import (
    NEW,
    CheckpointError,
    hash_tensors,
    load_initial_weights,
    match_initial_weights,
    select_components,
)

import pytest
import torch
from torch import nn


def _model():
    heads = nn.ModuleDict({"box_head": nn.Linear(2, 2), "box_predictor": nn.Linear(2, 3)})
    return nn.ModuleDict({"backbone": nn.Linear(2, 2), "roi_heads": heads, "backbone_extra": nn.Linear(1, 1)})


def _constant_state(model, value):
    return {name: torch.full_like(tensor, value) for name, tensor in model.state_dict().items()}


def test_longest_prefix_decides_and_prefixes_end_at_dots():
    torch.manual_seed(0)
    model = _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = {"a": _constant_state(model, 1.0), "b": _constant_state(model, 2.0)}
    init = {"backbone": "a", "roi_heads": "b", "roi_heads.box_predictor": NEW}
    load_initial_weights(model, init, states.__getitem__)
    for name, value in model.state_dict().items():
        if name.startswith("backbone."):
            assert (value == 1).all()
        elif name.startswith("roi_heads.box_head."):
            assert (value == 2).all()
        else:
            assert torch.equal(value, before[name]), name


def test_missing_tensors_are_listed_and_stay_new():
    model = _model()
    state = {name: v for name, v in _constant_state(model, 1.0).items() if name != "backbone.bias"}
    matched = match_initial_weights(model.state_dict(), {"backbone": "a"}, lambda _: state)
    assert matched.not_found == {"a": ["backbone.bias"]}
    assert matched.source["backbone.bias"] == NEW and matched.source["backbone.weight"] == "a"


def test_wrong_shape_is_an_error_with_both_shapes():
    model = _model()
    state = {**_constant_state(model, 1.0), "backbone.weight": torch.zeros(5, 2)}
    with pytest.raises(CheckpointError, match=r"backbone.weight.*\(5, 2\).*\(2, 2\)"):
        match_initial_weights(model.state_dict(), {"backbone": "a"}, lambda _: state)


def test_source_without_the_component_is_an_error():
    model = _model()
    with pytest.raises(CheckpointError, match="backbone"):
        match_initial_weights(model.state_dict(), {"backbone": "a"}, lambda _: {"conv1.weight": torch.zeros(1)})


def test_select_components_takes_whole_names():
    names = select_components(_model().state_dict(), ["backbone"])
    assert sorted(names) == ["backbone.bias", "backbone.weight"]


def test_hash_sees_one_bit_the_name_and_the_type():
    a = {"x": torch.zeros(4), "y": torch.ones(2)}
    assert hash_tensors(a) == hash_tensors(dict(reversed(list(a.items()))))
    others = [
        {**a, "x": torch.tensor([0, 0, 0, -0.0])},
        {"x": a["x"], "z": a["y"]},
        {**a, "x": torch.zeros(2, 2)},
        {**a, "x": torch.zeros(4, dtype=torch.int32)},
    ]
    assert len({hash_tensors(state) for state in [a, *others]}) == 5
