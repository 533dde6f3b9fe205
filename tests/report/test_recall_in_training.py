"""Recall over the iterations of RPN steps: the curves, the plot, and where the page has it."""

import json
from dataclasses import replace
from xml.etree import ElementTree

from frcnn_alt.report import read_run, write_report
from frcnn_alt.report.plot_style import DARK, LIGHT
from frcnn_alt.report.recall_in_training import plot_recall_over_iterations, recall_over_iterations

import pytest

TEST_SET = "toys_test"
ALT = "Recall while the steps were trained"


def evaluate_step(run_dir, step, iterations, prefix=""):
    """Add lines of evaluations to a step's metrics.json, as detectron2 writes them."""
    with open(run_dir / step / "metrics.json", "a") as file:
        for iteration in iterations:
            values = {f"{prefix}box_proposals/recall{p}@300": iteration / 10 + p / 10 for p in (50, 70)}
            file.write(
                json.dumps({"iteration": iteration, f"{prefix}box_proposals/ARl@300": float("nan"), **values}) + "\n"
            )


@pytest.mark.parametrize("prefix", ["", f"{TEST_SET}/"])
def test_curves_end_with_what_the_finished_step_reaches(finished_run, prefix):
    evaluate_step(finished_run, "step1_rpn", (99, 199, 299), prefix)
    step = read_run(str(finished_run)).steps[0]
    final = step.recall[TEST_SET]
    curves = recall_over_iterations(step, TEST_SET)
    assert curves == {
        "IoU 0.5": ([100, 200, 300, 400], pytest.approx([14.9, 24.9, 34.9, final["recall50@300"]])),
        "IoU 0.7": ([100, 200, 300, 400], pytest.approx([16.9, 26.9, 36.9, final["recall70@300"]])),
    }
    unfinished = recall_over_iterations(replace(step, recall={}), TEST_SET)
    assert unfinished["IoU 0.5"][0] == [100, 200, 300]


def test_the_page_has_the_plot_of_the_steps_that_were_evaluated(make_run, tmp_path):
    run_dir = make_run(tmp_path / "run", images=1)
    assert not any(recall_over_iterations(step, TEST_SET) for step in read_run(str(run_dir)).steps)
    evaluate_step(run_dir, "step1_rpn", (99, 199))
    evaluate_step(run_dir, "step3_rpn", (99,))
    steps = read_run(str(run_dir)).steps
    during = [("step 1", steps[0]), ("step 3", steps[2])]
    for theme in (LIGHT, DARK):
        svg = plot_recall_over_iterations(during, TEST_SET, theme)
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert theme.series[0].lower() in svg and theme.series[1].lower() in svg
        assert plot_recall_over_iterations(during, TEST_SET, theme) == svg
    with open(write_report(str(run_dir)), encoding="utf-8") as file:
        assert file.read().count(f'alt="{ALT}"') == 1


def test_of_a_first_step_that_is_still_running(make_run, tmp_path):
    run_dir = make_run(tmp_path / "run", finished_steps=0)
    evaluate_step(run_dir, "step1_rpn", (99,))
    with open(write_report(str(run_dir)), encoding="utf-8") as file:
        page = file.read()
    assert ALT in page and "Recall over the IoU threshold" not in page
