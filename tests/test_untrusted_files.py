"""Files that would run code are refused by name, and run nothing: the sentinel that each would write is never there."""

import argparse
import os
import pickle

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import CheckpointError, SafeCheckpointer, read_checkpoint
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.changes import what_changed
from frcnn_alt.engine.defaults import setup_cfg
from frcnn_alt.modeling.mean_image import read_mean_image
from frcnn_alt.proposals import ProposalSetError, import_proposals
from frcnn_alt.report import final_table
from frcnn_alt.safe_yaml import merge_config_file
from frcnn_alt.sweep.read_table import read_table

import numpy as np
import pytest
import torch
import yaml
from torch import nn


class RunsCode:
    """What unpickling it would do: make the sentinel."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


@pytest.fixture
def sentinel(tmp_path):
    return tmp_path / "sentinel"


@pytest.fixture
def evil_yaml(tmp_path, sentinel):
    path = tmp_path / "evil.yaml"
    path.write_text(f"MODEL:\n  WEIGHTS: !!python/object/apply:os.mkdir ['{sentinel}']\n")
    return path


def test_these_files_would_run_code(tmp_path, sentinel, evil_yaml):
    """The files are what they are said to be: read by what must not read them, each makes the sentinel."""
    pickle.loads(pickle.dumps(RunsCode(sentinel)))
    sentinel.rmdir()
    yaml.unsafe_load(evil_yaml.read_text())
    sentinel.rmdir()
    with pytest.raises(ValueError, match="Type mismatch"):  # os.mkdir has returned None
        get_cfg().merge_from_file(str(evil_yaml)) or get_cfg().merge_from_list(["MODEL.WEIGHTS", 3])
    sentinel.rmdir()


@pytest.mark.parametrize("name", ["model.pth", "model.pkl"])
def test_checkpoints(name, tmp_path, sentinel):
    path = tmp_path / name
    data = {"model": {"weight": torch.zeros(2)}, "iteration": RunsCode(sentinel)}
    if name.endswith(".pkl"):
        path.write_bytes(pickle.dumps({**data, "model": {"weight": np.zeros(2)}}))
    else:
        torch.save(data, path)
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(str(path))
    with pytest.raises(CheckpointError, match=name):
        SafeCheckpointer(nn.Linear(2, 2)).load(str(path))
    assert not sentinel.exists()


def test_proposal_files(tmp_path, sentinel):
    path = tmp_path / "proposals.pkl"
    path.write_bytes(pickle.dumps({"ids": [1], "boxes": [RunsCode(sentinel)], "objectness_logits": [np.zeros(1)]}))
    dicts = [{"image_id": 1, "width": 9, "height": 9}]
    with pytest.raises(ProposalSetError, match="proposals.pkl.*mkdir"):
        import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts)
    assert not sentinel.exists()


def test_mean_images(tmp_path, sentinel):
    path = tmp_path / "mean.npy"
    np.save(path, np.array([RunsCode(sentinel)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="mean.npy"):
        read_mean_image(str(path), "BGR")
    path.write_bytes(pickle.dumps(RunsCode(sentinel)))
    with pytest.raises(ValueError, match="mean.npy"):
        read_mean_image(str(path), "BGR")
    assert not sentinel.exists()


@pytest.mark.parametrize("place", ["config", "base", "overlay"])
def test_configs(place, tmp_path, sentinel, evil_yaml):
    harmless = tmp_path / "harmless.yaml"
    harmless.write_text("MODEL:\n  WEIGHTS: ''\n")
    if place == "base":
        harmless.write_text("_BASE_: evil.yaml\n")
    config = evil_yaml if place == "config" else harmless
    overlays = [str(evil_yaml)] if place == "overlay" else []
    with pytest.raises(ConfigError, match=harmless.name if place == "base" else "evil.yaml"):
        setup_cfg(argparse.Namespace(config_file=str(config), overlay=overlays, opts=[]))
    with pytest.raises(yaml.YAMLError, match="os.mkdir"):
        merge_config_file(get_cfg(), str(evil_yaml))
    assert not sentinel.exists()


def test_overrides(sentinel):
    for text in (f"__import__('os').mkdir('{sentinel}')", f"!!python/object/apply:os.mkdir ['{sentinel}']"):
        cfg = setup_cfg(argparse.Namespace(config_file="", opts=["MODEL.WEIGHTS", text]))
        assert text == cfg.MODEL.WEIGHTS  # a text, and nothing else
    assert not sentinel.exists()


def test_the_config_of_a_step_that_is_gone_on_with(tmp_path, sentinel, evil_yaml):
    evil_yaml.rename(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="config.yaml cannot be read"):
        what_changed(str(tmp_path), get_cfg(), 1)
    assert not sentinel.exists()


def test_the_config_of_a_run_that_is_reported(tmp_path, sentinel, evil_yaml):
    evil_yaml.rename(tmp_path / "config.yaml")
    (tmp_path / "manifest.json").write_text('{"version": 1, "steps": []}')
    assert "not finished" in final_table(str(tmp_path))  # of a config it only takes the names of data sets
    assert not sentinel.exists()


def test_tables(sentinel, evil_yaml):
    with pytest.raises(ConfigError, match="evil.yaml cannot be read as a table"):
        read_table(str(evil_yaml))
    assert not sentinel.exists()
