"""Null, and lists of the wrong things, are named by their key; everything that stock detectron2 allows passes."""

import argparse

from frcnn_alt import get_cfg
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.defaults import setup_cfg
from frcnn_alt.engine.kind_checks import kind_problems

import pytest


def setup(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    return setup_cfg(argparse.Namespace(config_file=str(path), opts=[]))


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("MODEL: {DEVICE: null}", "MODEL.DEVICE is null: give it a value, such as its default, 'cuda'"),
        (
            "INPUT: {MIN_SIZE_TRAIN: ['a']}",
            "MIN_SIZE_TRAIN is ('a',), which holds 'a': it takes numbers, such as (800,)",
        ),
        ("SOLVER: {STEPS: [[1]]}", "SOLVER.STEPS is ([1],), which holds [1]: it takes numbers"),
        ("DATASETS: {TRAIN: [3]}", "DATASETS.TRAIN is (3,), which holds 3: it takes texts in quotes"),
        ("MODEL: {RPN: {IN_FEATURES: [true]}}", "MODEL.RPN.IN_FEATURES is [True], which holds True: it takes texts"),
        ("MODEL: {FREEZE_COMPONENTS: [[a]]}", "FREEZE_COMPONENTS is (['a'],), which holds ['a']: it takes texts"),
        ("MODEL: {ANCHOR_GENERATOR: {SIZES: [[x]]}}", "SIZES is [['x']], which holds 'x': it takes numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, complaint):
    with pytest.raises(ConfigError) as error:
        setup(tmp_path, text)
    assert complaint in str(error.value)


def test_what_is_right_passes(tmp_path):
    cfg = setup(tmp_path, "INPUT: {MIN_SIZE_TRAIN: [600, 700]}\nSOLVER: {STEPS: []}\nSCHEDULE: {STEP1: {OPTS: [A, 1]}}")
    assert cfg.INPUT.MIN_SIZE_TRAIN == (600, 700) and kind_problems(cfg, get_cfg()) == []


@pytest.mark.parametrize("value", ["(" * 3000, "-" * 20000 + "1", "9" * 5000, "\0", "{}"])
def test_values_that_python_cannot_read_are_texts_or_one_error(value):
    try:
        cfg = setup_cfg(argparse.Namespace(config_file="", opts=["MODEL.WEIGHTS", value]))
    except ConfigError as error:
        assert "command line" in str(error)
    else:
        assert value == cfg.MODEL.WEIGHTS
