"""A manifest of somebody else cannot have files written or removed outside of its run's folder."""

import argparse
import json

from frcnn_alt import get_cfg
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.command_line import _check_folder
from frcnn_alt.engine.manifest import Manifest
from frcnn_alt.engine.plan import Plan

import pytest

STEP = {"name": "step1_rpn", "state": "finished", "outputs": {"model": {"path": "x", "sha256": "ff"}}}


def write(folder, **changed):
    folder.mkdir(exist_ok=True)
    manifest = {"version": 1, "steps": [{**STEP, **changed}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


@pytest.mark.parametrize("name", ["../elsewhere", "{top}/elsewhere", "..", ".", "", "a/b", "a\0", 3, None, ["a"]])
def test_names_of_steps(tmp_path, name):
    """--overwrite removes checkpoints in the folders of an earlier run's steps."""
    others = [tmp_path / "elsewhere" / file for file in ("model_final.pth", "metrics.json", "last_checkpoint")]
    others[0].parent.mkdir()
    for file in others:
        file.write_text("precious")
    run = write(tmp_path / "run", name=name.format(top=tmp_path) if isinstance(name, str) else name)
    with pytest.raises(ConfigError, match="manifest.json is not a manifest of this program, or is damaged"):
        Manifest.read(run)
    cfg = get_cfg()
    cfg.OUTPUT_DIR = run
    _check_folder(cfg, argparse.Namespace(resume=False, overwrite=True), lambda: Plan())
    assert all(file.read_text() == "precious" for file in others)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_links_are_removed_and_not_what_they_lead_to(tmp_path):
    run = tmp_path / "run"
    cfg = get_cfg()
    cfg.OUTPUT_DIR = write(run)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("precious")
    (run / "report").symlink_to(tmp_path / "precious")
    (run / "results.json").symlink_to(tmp_path / "precious" / "file")
    _check_folder(cfg, argparse.Namespace(resume=False, overwrite=True), lambda: Plan())
    assert (tmp_path / "precious" / "file").read_text() == "precious"
    assert not (run / "report").exists() and not (run / "results.json").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "done"},
        {"outputs": ["x"]},
        {"outputs": {"model": {"path": 3, "sha256": "ff"}}},
        {"outputs": {"proposals": {"toys": "x"}}},
        {"outputs": {"proposals": ["toys"]}},
        {"given": {"path": "x"}},
        {"given": {"path": "x", "sha256": "ff", "run": 3}},
    ],
)
def test_entries_that_no_run_wrote(tmp_path, changed):
    assert Manifest.read(write(tmp_path / "run")) is not None
    with pytest.raises(ConfigError, match="manifest.json is not a manifest"):
        Manifest.read(write(tmp_path / "run", **changed))


@pytest.mark.parametrize("content", [b"[" * 3000, b"\xff", b'{"version": 1, "steps": [3]}'])
def test_files_that_are_none(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ConfigError, match="manifest.json is not a manifest"):
        Manifest.read(str(tmp_path))
