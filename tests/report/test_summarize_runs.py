"""The Markdown of measured runs: what the runs' files say, and "-" where they say nothing."""

import json
import math
import sys

from frcnn_alt.engine.manifest import write_json

import pytest
from scripts import load_script


@pytest.fixture
def summary(monkeypatch, capsys):
    """A function that runs the script on run folders and returns the lines of its table, cell by cell, and the rest."""

    def summarize(*runs):
        script = load_script("benchmarks/summarize_runs.py")
        monkeypatch.setattr(sys, "argv", ["summarize_runs.py", "--title", "Toys", *map(str, runs)])
        assert script.main() == 0
        text = capsys.readouterr().out
        rows = [line for line in text.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows], text

    return summarize


def change_results(run, **box):
    results = json.loads((run / "results.json").read_text())
    results["bbox"].update({key.replace("_", "-"): value for key, value in box.items()})
    write_json(results, str(run / "results.json"))


def test_numbers_of_several_runs(make_run, tmp_path, summary):
    runs = [make_run(tmp_path / name) for name in ("first", "second")]
    change_results(runs[1], AP50=70.04)
    rows, text = summary(*runs)
    assert rows[0][:4] == ["run", "seed", "AP50", "AP"]
    assert [row[2] for row in rows[2:]] == ["80.0", "70.0"]
    assert "AP50 over 2 runs: mean 75.0, standard deviation 7.1, lowest 70.0." in text


def test_commands_can_be_given_again(make_run, tmp_path, summary):
    """The pre-training that both runs start from first, and once; words with spaces and brackets in quotes."""
    runs = [make_run(tmp_path / name) for name in ("first", "second")]
    manifest = json.loads((runs[1] / "manifest.json").read_text())
    manifest["command"] += ["SEED", "1"]
    (runs[1] / "manifest.json").write_text(json.dumps(manifest))
    lines = summary(*runs)[1].splitlines()
    assert lines[lines.index("- commands:") + 1 :] == [
        "  - `python tools/pretrain_backbone.py PRETRAIN.STEPS '(3,)'`",
        "  - `python tools/train_net.py --config-file 'configs/a b.yaml'`",
        "  - `python tools/train_net.py --config-file 'configs/a b.yaml' SEED 1`",
    ]


def test_runs_that_remember_no_pre_training(make_run, tmp_path, summary):
    run = make_run(tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    for left in ({"weights_command": None}, {}):
        manifest = {key: value for key, value in manifest.items() if key != "weights_command"}
        (run / "manifest.json").write_text(json.dumps({**manifest, **left}))
        assert summary(run)[1].count("`python ") == 1


def test_a_class_without_objects(make_run, tmp_path, summary):
    """Such a class is null in results.json; a run without any number of its own has no mean."""
    runs = [make_run(tmp_path / name) for name in ("first", "second")]
    change_results(runs[0], AP50_circle=math.nan)
    change_results(runs[1], AP=math.nan, AP50=math.nan)
    rows, text = summary(*runs)
    assert [row[rows[0].index("circle")] for row in rows[2:]] == ["-", "91.0"]
    assert rows[3][2:4] == ["-", "-"]
    assert "mean" not in text


def test_unfinished_runs_are_refused(make_run, tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", finished_steps=2)
    monkeypatch.setattr(sys, "argv", ["summarize_runs.py", "--title", "Toys", str(run)])
    assert load_script("benchmarks/summarize_runs.py").main() == 2
    assert str(run) in capsys.readouterr().err
