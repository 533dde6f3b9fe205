"""A whole sweep through tools/sweep.py, on networks of the smallest size: what is trained, measured, written."""

import csv
import json
import os
import subprocess
import sys

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.manifest import Manifest

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from scripts import REPOSITORY, load_script


@pytest.fixture(scope="module")
def sweep():
    return load_script("tools/sweep.py")


@pytest.fixture(scope="module")
def finished(tiny_table, tmp_path_factory):
    """Folder of the finished sweep."""
    pytest.importorskip("cv2").ximgproc  # noqa: B018  Selective Search's part of OpenCV
    folder = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, "tools/sweep.py", str(tiny_table), "--output", str(folder), "--jobs", "2"]
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])  # the detectron2 that it names stays
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_row_is_measured(finished):
    with open(finished / "tiny.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["ss", "shared", "unshared", "rpn_5"]
    for row in rows:
        assert 0 <= float(row["mean"]) <= 100 and float(row["seed 0"]) == float(row["mean"])
    results = json.loads((finished / "runs" / "shared-seed0" / "results.json").read_text())
    assert float(rows[1]["mean"]) == pytest.approx(results["bbox"]["AP50"])


def test_shared_steps_are_those_of_the_run_that_trained_them(finished):
    def weights(*path):
        return read_checkpoint(os.path.join(str(finished), "runs", *path))["model"]

    rpn, of_four = weights("rpn-seed0", "model_final.pth"), weights("shared-seed0", "step1_rpn", "model_final.pth")
    assert all(torch.equal(rpn[name], of_four[name]) for name in of_four)
    states = [step["state"] for step in Manifest.read(str(finished / "runs" / "unshared-seed0")).data["steps"]]
    assert states == ["given", "given"]


def test_a_second_time_nothing_is_done(finished, tiny_table, sweep, capsys, monkeypatch, own_catalogs):
    for catalog in (DatasetCatalog, MetadataCatalog):  # without what other tests call tiny_shapes
        monkeypatch.setattr(catalog, "data", {k: v for k, v in catalog.data.items() if "shapes" not in k})
    monkeypatch.chdir(REPOSITORY)
    before = {file: file.stat().st_mtime_ns for file in (finished / "runs").rglob("*") if file.is_file()}
    assert sweep.run(sweep.parse_arguments([str(tiny_table), "--output", str(finished)])) == 0
    assert "tasks are done already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (finished / "runs").rglob("*") if file.is_file()} == before


def test_what_is_left_to_read(finished):
    page = (finished / "index.html").read_text()
    assert "A small table" in page and "tools/train_net.py" in page and "<svg" not in page  # plots are data URIs
    markdown = (finished / "tiny.md").read_text()
    assert "59.9" in markdown and "Sharing is better" in markdown and "versions" in markdown


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere.yaml"], "Table file not found: nowhere.yaml"),
        (["MODEL.WEIGHTS", "x"], "No table file"),
        ([], "No table file (.yaml): the command names none"),
        (["{table}", "figure4"], "KEY VALUE pairs, and these are none: figure4"),
        (["{table}", "--jobs", "0"], "--jobs 0: it takes whole numbers from 1 on"),
        (["{table}", "--seeds", "x"], "--seeds takes whole numbers"),
        (["{table}", "--base", "zg=a.yaml"], "no base of that name, but zf, vgg"),
        (["{table}", "--base", "zf"], "--base zf: it takes NAME=VALUE"),
        (["{table}", "MODEL.WEIGHTS", "nowhere.pth"], "MODEL.WEIGHTS nowhere.pth does not exist"),
    ],
)
def test_mistakes(small_table, sweep, tmp_path, words, message, capsys):
    from frcnn_alt.engine.failures import guarded

    words = [word.format(table=small_table) for word in words]
    arguments = sweep.parse_arguments([*words, *([] if "MODEL.WEIGHTS" in words else ["--output", str(tmp_path)])])
    assert guarded(lambda: sweep.run(arguments)) == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_writes_nothing(small_table, sweep, tmp_path, capsys):
    folder = tmp_path / "none"
    assert sweep.run(sweep.parse_arguments([str(small_table), "--output", str(folder), "--dry-run"])) == 0
    assert "17 iterations of training" in capsys.readouterr().out and not folder.exists()


def test_an_output_that_is_a_file(small_table, sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file: name a folder"):
        sweep.run(sweep.parse_arguments([str(small_table), "--output", str(tmp_path / "file"), "--report"]))


def test_words_after_a_flag_of_several_words_are_overrides(sweep):
    words = ["a.yaml", "--seeds", "0", "2", "MODEL.DEVICE", "cpu"]
    args = sweep.parse_arguments(words)
    assert (args.seeds, args.tables, args.opts) == (["0", "2"], ["a.yaml"], ["MODEL.DEVICE", "cpu"])
    assert sweep.parse_arguments(["--seeds", "0", "a.yaml"]).tables == ["a.yaml"]
    args = sweep.parse_arguments(["a.yaml", "b.yaml", "--slurm", "gpus_per_node=1", "MODEL.DEVICE", "cpu"])
    assert (args.slurm, args.tables, args.opts) == (["gpus_per_node=1"], ["a.yaml", "b.yaml"], ["MODEL.DEVICE", "cpu"])
