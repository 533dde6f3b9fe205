"""Weight files: of another architecture, cut off, no checkpoint at all, and pickles that would run code."""

import os
import pickle
import shutil

from frcnn_alt.engine import default_argument_parser
from frcnn_alt.engine.command_line import run_command_line

import pytest
import torch
from refusals import train_net
from scripts import load_script


class _RunsCode:
    """A pickle of it makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def _cut_off(path, start):
    content = (start.run / "model_final.pth").read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _with(change):
    def write(path, start):
        checkpoint = torch.load(start.run / "model_final.pth", weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, path)

    return write


def _other_shape(checkpoint):
    checkpoint["model"]["backbone.conv1.weight"] = torch.zeros(3, 3, 3, 3)


def _no_backbone(checkpoint):
    for name in [name for name in checkpoint["model"] if name.startswith("backbone.")]:
        del checkpoint["model"][name]


# Case -> writes the file, its ending, what is said of it.
FILES = {
    "not there": (lambda path, start: None, "pth", "does not exist"),
    "a folder": (lambda path, start: path.mkdir(), "pth", "is a folder"),
    "empty": (lambda path, start: path.write_bytes(b""), "pth", "cannot be read as a checkpoint"),
    "text": (lambda path, start: path.write_text("weights"), "pth", "cannot be read as a checkpoint"),
    "cut off": (_cut_off, "pth", "cannot be read as a checkpoint"),
    "a list": (lambda path, start: torch.save([1], path), "pth", "it holds a list"),
    "no tensors": (lambda path, start: torch.save({"model": {"a": 1}}, path), "pth", "it holds no tensors"),
    "a model that is a number": (lambda path, start: torch.save({"model": 3}, path), "pth", "is not a checkpoint"),
    "names that are numbers": (lambda path, start: torch.save({1: torch.zeros(1)}, path), "pth", "is not a checkpoint"),
    "names of another program": (
        lambda path, start: torch.save({"model": {"layer.weight": torch.zeros(1)}}, path),
        "pth",
        "holds no tensor of backbone",
    ),
    "another architecture": (_with(_other_shape), "pth", "backbone.conv1.weight has shape (3, 3, 3, 3)"),
    "a component missing": (_with(_no_backbone), "pth", "holds no tensor of backbone"),
    "a pickle": (lambda path, start: path.write_bytes(pickle.dumps([1])), "pkl", "it holds a list"),
    "a pickle that is cut off": (lambda path, start: path.write_bytes(b"\x80\x04\x95"), "pkl", "cannot be read"),
    "a caffemodel of nothing": (lambda path, start: path.write_bytes(b""), "caffemodel", "weights.caffemodel"),
    "a caffemodel of text": (lambda path, start: path.write_text("name: a"), "caffemodel", "weights.caffemodel"),
}


@pytest.mark.parametrize("case", FILES)
def test_initial_weights(case, start, refused, tmp_path):
    write, ending, part = FILES[case]
    file = tmp_path / f"weights.{ending}"
    write(file, start)
    words = ["MODEL.WEIGHTS", file, "OUTPUT_DIR", tmp_path / "out"]
    refused(train_net(start.config, *words), str(file), part)


@pytest.mark.parametrize("ending", ["pth", "pkl"])
@pytest.mark.parametrize("way", ["train", "evaluate", "convert"])
def test_a_pickle_that_would_run_code(way, ending, start, refused, tmp_path):
    file = tmp_path / f"weights.{ending}"
    content = {"model": {"backbone.conv1.weight": _RunsCode(tmp_path / "was run")}}
    file.write_bytes(pickle.dumps(content)) if ending == "pkl" else torch.save(content, file)
    words = ["MODEL.WEIGHTS", file, "OUTPUT_DIR", tmp_path / "out"]
    if way == "convert":
        tool = load_script("tools/convert_weights.py")
        flags = ["--config-file", start.config, str(file), "-o", str(tmp_path / "out.pth")]
        refused(lambda: run_command_line(tool.run, tool.parse_arguments(flags)), str(file))
        assert not (tmp_path / "out.pth").exists()
    else:
        refused(train_net(start.config, *(["--eval-only"] if way == "evaluate" else []), *words), str(file))
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("case", ["not there", "empty", "cut off", "a list", "another architecture"])
def test_weights_to_evaluate(case, start, refused, tmp_path):
    write, ending, _ = FILES[case]
    file = tmp_path / f"weights.{ending}"
    write(file, start)
    words = ["--eval-only", "MODEL.WEIGHTS", file, "OUTPUT_DIR", tmp_path / "out"]
    refused(train_net(start.config, *words), str(file))


def test_evaluation_of_a_folder_without_a_network(start, refused, tmp_path):
    words = ["--eval-only", "MODEL.WEIGHTS", "", "OUTPUT_DIR", tmp_path / "out"]
    refused(train_net(start.config, *words), "--eval-only needs a trained network")


@pytest.mark.parametrize("case", ["empty", "cut off", "a list", "another architecture", "a component missing"])
def test_weights_that_stand_in_for_a_step(case, start, refused, tmp_path):
    write, ending, _ = FILES[case]
    file = tmp_path / f"weights.{ending}"
    write(file, start)
    words = ["--steps", "2-4", "MODEL.WEIGHTS", "", "SCHEDULE.STEP1.GIVEN", file, "OUTPUT_DIR", tmp_path / "out"]
    refused(train_net(start.config, *words), str(file), "step1_rpn is given")


MANIFESTS = {
    "empty": "",
    "text": "no json",
    "a list": "[]",
    "another version": '{"version": 9, "steps": []}',
    "no steps": '{"version": 1}',
    "steps that are a text": '{"version": 1, "steps": "all"}',
    "steps that are numbers": '{"version": 1, "steps": [1, 2, 3, 4]}',
    "steps without names": '{"version": 1, "steps": [{}, {}, {}, {}]}',
    "steps without states": '{"version": 1, "steps": [{"name": "step1_rpn"}, {"name": "step2_fast_rcnn"}, '
    '{"name": "step3_rpn"}, {"name": "step4_fast_rcnn"}]}',
    "other steps": '{"version": 1, "steps": [{"name": "step9", "state": "pending"}]}',
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("case", MANIFESTS)
@pytest.mark.parametrize("way", ["--resume", "--from-run"])
def test_manifests(case, way, start, refused, tmp_path):
    folder = tmp_path / ("out" if way == "--resume" else "earlier")
    shutil.copytree(start.run, folder)
    content = MANIFESTS[case]
    (folder / "manifest.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    flags = ["--resume"] if way == "--resume" else ["--steps", "4", "--from-run", str(folder)]
    said = refused(train_net(start.config, *flags, "MODEL.WEIGHTS", "", "OUTPUT_DIR", tmp_path / "out"))
    assert str(folder) in said or (case, way) == ("other steps", "--from-run")


def test_a_folder_that_holds_a_run(start, refused):
    before = default_argument_parser().get_default("resume")
    words = ["MODEL.WEIGHTS", ""]
    refused(train_net(start.config, *words), "holds a run already", "--resume", "--overwrite", outputs=[start.run])
    assert before is False


def test_a_file_in_the_place_of_the_output_folder(start, refused, tmp_path):
    (tmp_path / "out").write_text("mine")
    refused(train_net(start.config, "MODEL.WEIGHTS", "", "OUTPUT_DIR", tmp_path / "out"), "is a file; name a folder")
    words = ["MODEL.WEIGHTS", "", "OUTPUT_DIR", tmp_path / "out" / "below"]
    refused(train_net(start.config, *words), "cannot be made")
