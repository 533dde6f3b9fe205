"""The text at the end of a run says the numbers of results.json."""

import json
import re

from frcnn_alt.report import ReportError, final_table
from frcnn_alt.report.text import duration, percent

import pytest


def rows(table):
    """Lines of a text table as lists of their columns."""
    return [re.split(r" {2,}", line.strip()) for line in table.splitlines()]


def test_numbers_are_those_of_the_results(finished_run):
    results = json.loads((finished_run / "results.json").read_text())
    table = rows(final_table(str(finished_run)))
    for key, value in results["bbox"].items():
        if key.startswith("AP50-"):
            assert [key[5:], f"{value:.1f}"] in table
    assert ["mean", f"{results['bbox']['AP50']:.1f}"] in table
    for step, recall in results["proposals"].items():
        values = [recall["toys_test"][key] for key in ("recall50@300", "recall70@300", "AR@300")]
        assert [step, *(f"{value:.1f}" for value in values)] in table


def test_steps_and_what_they_started_from(finished_run):
    table = rows(final_table(str(finished_run)))
    assert ["step1_rpn", "1 min 35 s", "backbone: weights imagenet.pth", "backbone"] in table
    assert ["step4_fast_rcnn", "1 h 07 min", "backbone: step2_fast_rcnn", "roi_heads"] in table
    assert ["proposals: step3_rpn"] in table
    assert ["total", "1 h 12 min"] in table


def test_names_the_report_once_it_is_there(finished_run):
    assert f"python -m frcnn_alt.report {finished_run}" in final_table(str(finished_run))
    (finished_run / "report").mkdir()
    (finished_run / "report" / "index.html").write_text("")
    table = final_table(str(finished_run))
    assert f"{finished_run}/report/index.html" in table and "report/pictures" not in table
    (finished_run / "report" / "pictures").mkdir()
    assert f"{finished_run}/report/pictures" in final_table(str(finished_run))


def test_unfinished_run(unfinished_run):
    table = final_table(str(unfinished_run))
    assert table.startswith("zf <4 steps>: not finished")
    assert ["step3_rpn", "running", "backbone: step2_fast_rcnn", "proposal_generator"] in rows(table)
    assert "AP50" not in table and "nan" not in table


def test_nothing_to_recall_is_no_number(finished_run):
    results = json.loads((finished_run / "results.json").read_text())
    results["proposals"]["step1_rpn"]["toys_test"]["AR@300"] = float("nan")
    (finished_run / "results.json").write_text(json.dumps(results))
    assert [row[-1] for row in rows(final_table(str(finished_run))) if row[0] == "step1_rpn"] == ["backbone", "-"]


def test_not_a_run_folder(tmp_path):
    with pytest.raises(ReportError, match="not a run folder"):
        final_table(str(tmp_path))


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (7649, "2 h 07 min"),
        (7170.5, "2 h 00 min"),
        (None, "-"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_percent():
    assert [percent(v) for v in (80.04, 100.0, None, float("nan"))] == ["80.0", "100.0", "-", "-"]
