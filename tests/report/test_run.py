"""Reading run folders: curves of cut and resumed trainings, unfinished runs, damaged files."""

import json

from frcnn_alt.report import ReportError, final_table, read_run
from frcnn_alt.report.elements import plan_table
from frcnn_alt.report.scalars import read_scalars

import pytest


def write_lines(path, records):
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records))
    return str(path)


def test_curves_by_iteration(tmp_path):
    records = [{"iteration": i, "total_loss": float(i), "lr": 0.1} for i in (19, 39, 59)]
    curves = read_scalars(write_lines(tmp_path / "metrics.json", records))
    assert curves == {"total_loss": ([19, 39, 59], [19.0, 39.0, 59.0]), "lr": ([19, 39, 59], [0.1] * 3)}


def test_resumed_training_replaces_what_came_after_its_checkpoint(tmp_path):
    records = [{"iteration": i, "total_loss": 1.0} for i in (19, 39, 59, 79)]
    records += ['{"iteration": 99, "total_l\n']  # killed while writing
    records += [{"iteration": i, "total_loss": 2.0} for i in (39, 59)]
    curves = read_scalars(write_lines(tmp_path / "metrics.json", records))
    assert curves["total_loss"] == ([19, 39, 59], [1.0, 2.0, 2.0])


def test_late_single_values_do_not_look_like_a_resumed_training(tmp_path):
    records = [
        {"iteration": 19, "total_loss": 1.0},
        {"iteration": 39, "total_loss": 2.0},
        {"iteration": 38, "time": 0.5},
    ]
    curves = read_scalars(write_lines(tmp_path / "metrics.json", records))
    assert curves["total_loss"][0] == [19, 39]
    assert curves["time"] == ([38], [0.5])


def test_no_curves_without_the_file(tmp_path):
    assert read_scalars(str(tmp_path / "metrics.json")) == {}


def test_finished_run(finished_run):
    run = read_run(str(finished_run))
    assert run.finished
    assert run.test_datasets == ["toys_test"]
    assert run.box_results["toys_test"]["AP50"] == 80.04
    assert [step.number for step in run.steps] == [1, 2, 3, 4]
    assert run.steps[2].title == "Step 3: region proposal network"
    assert len(run.steps[0].scalars["loss_rpn_loc"][0]) == 400 // 20
    assert list(run.detections) == ["toys_test"]


def test_unfinished_run(unfinished_run):
    run = read_run(str(unfinished_run))
    assert not run.finished
    assert [step.state for step in run.steps] == ["finished", "finished", "running", "pending"]
    assert run.box_results == {} and run.detections == {}
    assert run.seconds == {"step1_rpn": 95.4, "step2_fast_rcnn": 130.0}
    assert run.steps[0].recall["toys_test"]["recall50@2000"] == pytest.approx(88.8)  # from the manifest
    assert run.steps[2].scalars["total_loss"][0][-1] == 99
    assert run.steps[3].scalars == {}


def test_results_of_several_test_sets(finished_run):
    """detectron2 names the data sets in its results where there are several."""
    results = json.loads((finished_run / "results.json").read_text())
    box = results.pop("bbox")
    results.update(first={"bbox": box}, second={"bbox": {**box, "AP50": 12.0}})
    (finished_run / "results.json").write_text(json.dumps(results))
    (finished_run / "config.yaml").write_text("DATASETS: {TEST: [first, second]}\n")
    run = read_run(str(finished_run))
    assert {name: values["AP50"] for name, values in run.box_results.items()} == {"first": 80.04, "second": 12.0}


def test_not_a_run_folder(tmp_path):
    with pytest.raises(ReportError, match=f"{tmp_path} is not a run folder: it has no manifest.json"):
        read_run(str(tmp_path))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("manifest.json", "{", "manifest.json is damaged"),
        ("manifest.json", "[]", "manifest.json is damaged"),
        ("manifest.json", "{}", "no list of steps"),
        ("manifest.json", '{"steps": [{"name": "step1_rpn"}]}', "lacks or garbles 'kind'"),
        ("results.json", '{"bbox": ', "results.json is damaged"),
    ],
)
def test_damaged_files_are_named(finished_run, name, text, message):
    (finished_run / name).write_text(text)
    with pytest.raises(ReportError, match=message):
        read_run(str(finished_run))


def test_given_and_left_out_steps_have_no_training(finished_run):
    """Also where an overwritten run left curves in their folders."""
    path = finished_run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["left_out"] = [manifest["steps"][0]["name"]]
    manifest["steps"][0]["state"], manifest["steps"][1]["state"] = "pending", "given"
    manifest["steps"][1]["started_from"] = {"all": "given: somebodys.pth"}
    path.write_text(json.dumps(manifest))
    run = read_run(str(finished_run))
    assert [step.state for step in run.steps] == ["left out", "given", "finished", "finished"]
    assert [step.is_of_the_run for step in run.steps] == [False, False, True, True]
    assert [bool(step.scalars) for step in run.steps] == [False, False, True, True]
    rows = [row.split() for row in final_table(str(finished_run)).splitlines()]
    assert [run.steps[0].name, "left", "out", "-", "-"] in rows
    assert [run.steps[1].name, "given", "all:", "given:", "somebodys.pth", "-"] in rows
    html = plan_table(run.steps)
    assert "somebodys.pth" in html and html.count("left out") == 1
