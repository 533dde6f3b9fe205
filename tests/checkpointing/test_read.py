"""Reading weight files safely, and writing them atomically."""

import os
import pickle

from frcnn_alt.checkpointing import CheckpointError, file_sha256, read_checkpoint, write_checkpoint

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer


class _RunsCode:
    def __reduce__(self):
        return (os.system, ("true",))


def test_checkpoint_round_trip(tmp_path):
    path = str(tmp_path / "a.pth")
    write_checkpoint({"model": {"x": torch.arange(3.0)}, "iteration": 7}, path)
    read = read_checkpoint(path)
    assert read["iteration"] == 7 and torch.equal(read["model"]["x"], torch.arange(3.0))
    assert os.listdir(tmp_path) == ["a.pth"]  # nothing left beside it


def test_bare_state_dict_is_a_model(tmp_path):
    torch.save({"x": torch.ones(2)}, tmp_path / "a.pth")
    assert torch.equal(read_checkpoint(str(tmp_path / "a.pth"))["model"]["x"], torch.ones(2))


def test_pkl_with_arrays_is_read(tmp_path):
    with open(tmp_path / "a.pkl", "wb") as file:
        pickle.dump({"model": {"x": np.arange(4, dtype=np.float32)}, "__author__": "somebody"}, file)
    assert torch.equal(read_checkpoint(str(tmp_path / "a.pkl"))["model"]["x"], torch.arange(4.0))


ARRAYS = {"conv1_w": np.ones((2, 3), np.float32), "conv1_b": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    "content",
    [
        {"model": ARRAYS, "__author__": "somebody"},  # the model zoo: names are taken as they are
        {"blobs": {**ARRAYS, "conv1_w_momentum": np.ones((2, 3), np.float32)}},  # Caffe2's detectors: names are guessed
        {**ARRAYS, "fc1000_w": np.ones((4, 2), np.float32)},  # Caffe2's ImageNet files
    ],
)
def test_a_pkl_is_read_as_detectron2_reads_it(tmp_path, content):
    path = str(tmp_path / "a.pkl")
    with open(path, "wb") as file:
        pickle.dump(content, file)
    ours, theirs = read_checkpoint(path), DetectionCheckpointer(torch.nn.Linear(1, 1))._load_file(path)
    assert ours.keys() == theirs.keys() and ours["model"].keys() == theirs["model"].keys()
    assert {key: ours[key] for key in ours if key != "model"} == {key: theirs[key] for key in theirs if key != "model"}
    assert all(np.array_equal(ours["model"][name], array) for name, array in theirs["model"].items())


def test_a_pkl_that_names_no_author_is_read_as_it_is_named(tmp_path):
    """detectron2 would take its one entry for a layer of Caffe2."""
    with open(tmp_path / "a.pkl", "wb") as file:
        pickle.dump({"model": ARRAYS}, file)
    read = read_checkpoint(str(tmp_path / "a.pkl"))
    assert read["model"].keys() == ARRAYS.keys() and "matching_heuristics" not in read


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with open(path, "wb") as file:
        pickle.dump({"model": {"x": _RunsCode()}}, file)
    with pytest.raises(CheckpointError, match=f"a.{suffix}"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="a.pth"):
        read_checkpoint(str(tmp_path / "a.pth"))


def test_missing_file_names_the_key(tmp_path):
    with pytest.raises(CheckpointError, match="MODEL.WEIGHTS"):
        read_checkpoint(str(tmp_path / "nowhere.pth"))


def test_failed_write_leaves_the_old_file(tmp_path):
    path = str(tmp_path / "a.pth")
    write_checkpoint({"model": {"x": torch.ones(1)}}, path)
    before = file_sha256(path)
    with pytest.raises(Exception, match="pickle"):
        write_checkpoint({"model": {"x": lambda: None}}, path)
    assert file_sha256(path) == before


@pytest.mark.parametrize(
    "content",
    [
        {"model": [1]},
        {"model": {"weight": np.zeros(2)}, "frcnn_alt": [1]},
        {"model": {"weight": np.array(["text"])}},
        {"model": {"weight": np.array([None, 1])}},
        {"blobs": 3},
        {"model": {3: np.zeros(2)}},
    ],
)
def test_a_pkl_of_other_things_is_named(tmp_path, content):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="a.pkl"):
        read_checkpoint(str(path))
