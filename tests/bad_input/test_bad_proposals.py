"""Proposal sets: damaged, of another length, of another data set, with NaN; and files of other programs."""

import json
import pickle
import shutil

from frcnn_alt.engine.command_line import run_command_line

import numpy as np
import pytest
from refusals import train_net
from scripts import REPOSITORY, load_script

OVERLAY = str(REPOSITORY / "configs" / "overlays" / "fast_rcnn.yaml")


@pytest.fixture
def sets(start, tmp_path):
    """The folders of a copy of the finished run's proposal sets, over the training and the test images."""
    folder = shutil.copytree(start.run / "step1_rpn" / "proposals", tmp_path / "proposals")
    return folder / "images_trainval", folder / "images_test"


def _index(change):
    def spoil(folder):
        path = folder / "index.json"
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    return spoil


def _data(name, change):
    def spoil(folder):
        (path,) = folder.glob(f"{name}-*.float32")
        values = np.fromfile(path, "<f4")
        change(values).tofile(path)

    return spoil


def _nan(values):
    values[3] = np.nan
    return values


def _inverted(values):
    values[:4] = (50, 50, 10, 10)
    return values


def _of_the_test_images(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "images_test", folder)


SETS = {
    "no folder": (lambda folder: shutil.rmtree(folder), "no proposal set at"),
    "no index": (lambda folder: (folder / "index.json").unlink(), "no proposal set at"),
    "a file": (lambda folder: (shutil.rmtree(folder), folder.write_text("boxes")), "is a file"),
    "an index that is empty": (lambda folder: (folder / "index.json").write_text(""), "is damaged"),
    "an index of bytes": (lambda folder: (folder / "index.json").write_bytes(b"\xff\xfe"), "is damaged"),
    "an index that is a list": (lambda folder: (folder / "index.json").write_text("[]"), "not a proposal set index"),
    "an index of nothing": (lambda folder: (folder / "index.json").write_text('{"version": 1}'), "is damaged"),
    "an index that is a folder": (
        lambda folder: ((folder / "index.json").unlink(), (folder / "index.json").mkdir()),
        "index.json",
    ),
    "another version": (_index(lambda index: index.update(version=2)), "of version 1"),
    "a count more": (_index(lambda index: index["counts"].append(1)), "ids and counts differ"),
    "an image twice": (_index(lambda index: index["image_ids"].__setitem__(0, index["image_ids"][1])), "differ"),
    "a count that is negative": (_index(lambda index: index["counts"].__setitem__(0, -5)), "is damaged"),
    "a count that is a text": (_index(lambda index: index["counts"].__setitem__(0, "a")), "is damaged"),
    "an image of another name": (_index(lambda index: index["image_ids"].__setitem__(0, "other")), "lacks 1 of"),
    "another data set": (_of_the_test_images, "lacks 3 of 3 images"),
    "files that are a number": (_index(lambda index: index.update(files=3)), "is damaged"),
    "files without names": (_index(lambda index: index.update(files={})), "is damaged"),
    "a file that is not there": (_index(lambda i: i["files"].update(boxes="none.float32")), "none.float32 is missing"),
    "boxes that are cut off": (_data("boxes", lambda values: values[:-4]), "bytes expected"),
    "scores that are cut off": (_data("scores", lambda values: values[:-1]), "bytes expected"),
    "boxes that are too many": (_data("boxes", lambda values: np.tile(values, 2)), "bytes expected"),
    "NaN in a box": (_data("boxes", _nan), "NaN"),
    "NaN in a score": (_data("scores", _nan), "NaN"),
    "a box inside out": (_data("boxes", _inverted), "x2 < x1"),
}


@pytest.mark.parametrize("case", SETS)
def test_sets_to_train_on(case, sets, start, refused, tmp_path):
    spoil, part = SETS[case]
    spoil(sets[0])
    keys = ["DATASETS.PROPOSAL_FILES_TRAIN", f'("{sets[0]}",)', "DATASETS.PROPOSAL_FILES_TEST", f'("{sets[1]}",)']
    words = ["--overlay", OVERLAY, "MODEL.WEIGHTS", "", "OUTPUT_DIR", tmp_path / "out", *keys]
    refused(train_net(start.config, *words), str(sets[0]), part)


@pytest.mark.parametrize("case", ["no folder", "an index of nothing", "boxes that are cut off", "NaN in a box"])
def test_sets_to_measure(case, sets, start, refused, tmp_path):
    tool = load_script("tools/evaluate_proposals.py")
    spoil, part = SETS[case]
    spoil(sets[1])
    words = ["--config-file", start.config, "--output", str(tmp_path / "out"), f"RPN={sets[1]}"]
    refused(lambda: run_command_line(tool.run, tool.parse_arguments(words)), str(sets[1]), part)


class _RunsCode:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


FOREIGN = {
    "not there": ("detectron2", lambda path: None, "no proposals at"),
    "a pickle that would run code": (
        "detectron2",
        lambda path: path.write_bytes(pickle.dumps({"ids": _RunsCode(path.parent / "was run")})),
        "foreign",
    ),
    "a pickle that is cut off": ("detectron2", lambda path: path.write_bytes(b"\x80\x04"), "foreign"),
    "a pickle of a list": ("detectron2", lambda path: path.write_bytes(pickle.dumps([1])), "foreign"),
    "a pickle without boxes": ("detectron2", lambda path: path.write_bytes(pickle.dumps({"ids": []})), "foreign"),
    "a mat file of text": ("selective_search", lambda path: path.write_text("boxes"), "foreign"),
    "a mat file that is empty": ("matlab_rpn", lambda path: path.write_bytes(b""), "foreign"),
    "a folder that is empty": ("coco_mcg", lambda path: path.mkdir(), "foreign"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_files_of_other_programs(case, start, refused, tmp_path):
    file_format, write, part = FOREIGN[case]
    if file_format != "detectron2":
        pytest.importorskip("scipy", reason="SciPy is an optional package")
    file = tmp_path / "foreign"
    write(file)
    tool = load_script("tools/make_proposals.py")
    words = ["import", "--config-file", start.config, "--format", file_format, "--dataset", "images_test"]
    words += [str(file), "--output", str(tmp_path / "out")]
    refused(lambda: run_command_line(tool.run, tool.parse_arguments(words)), part)
    assert not (tmp_path / "was run").exists()
