"""The plots are whole SVG files, the same for the same run, and bear what training logs."""

from dataclasses import replace
from xml.etree import ElementTree

from frcnn_alt.report import read_run
from frcnn_alt.report.plots import (
    DARK,
    LIGHT,
    _thinned,
    loss_limit,
    loss_names,
    plot_class_bars,
    plot_losses,
    plot_recall_by_iou,
    plot_recall_by_number,
)

import numpy as np
import pytest
from matplotlib.backends.backend_svg import RendererSVG


def is_svg(text):
    return ElementTree.fromstring(text).tag.endswith("svg")


def test_all_plots_for_light_and_dark_pages(finished_run):
    steps = read_run(str(finished_run)).steps
    recalls = {step.name: step.recall["toys_test"] for step in steps if step.recall}
    for draw in (
        lambda theme: plot_losses(steps[0], theme, 1.0),
        lambda theme: plot_recall_by_number(recalls, theme),
        lambda theme: plot_recall_by_iou(recalls, theme),
        lambda theme: plot_class_bars([("a", 50.0), ("b", float("nan"))], 50.0, theme),
    ):
        light, dark = draw(LIGHT), draw(DARK)
        assert is_svg(light) and is_svg(dark)
        assert LIGHT.series[0].lower() in light and DARK.series[0].lower() in dark
        assert draw(LIGHT) == light


@pytest.mark.parametrize("name", [r"$\foo$", "a$x^2$", r"\$5", "$", "$a$ and $b"])
def test_names_are_drawn_as_they_are(name, monkeypatch, finished_run):
    """A dollar is no beginning of a formula, nor is the backslash that would escape it left in the plot."""
    drawn = []
    stock = RendererSVG.draw_text

    def draw_text(self, gc, x, y, text, prop, angle, ismath=False, mtext=None):
        drawn.append((text, ismath))
        stock(self, gc, x, y, text, prop, angle, ismath=ismath, mtext=mtext)

    monkeypatch.setattr(RendererSVG, "draw_text", draw_text)
    step = replace(read_run(str(finished_run)).steps[0], kind=name)
    step.scalars[f"loss_{name}"] = step.scalars["loss_rpn_cls"]
    recalls = {name: step.recall["toys_test"]}
    plot_class_bars([(name, 50.0), ("b", 40.0)], 45.0, LIGHT)
    plot_losses(step, LIGHT, 1.0)
    plot_recall_by_iou(recalls, LIGHT)
    plot_recall_by_number(recalls, LIGHT)
    expected = {name, f"Step 1: {name}", f"loss_{name}", f"{name}, IoU 0.5"}
    assert expected <= {text for text, ismath in drawn if not ismath}


def test_loss_parts_have_the_same_order_in_both_kinds_of_steps(finished_run):
    steps = read_run(str(finished_run)).steps
    assert loss_names(steps[0]) == ["loss_rpn_cls", "loss_rpn_loc"]
    assert loss_names(steps[1]) == ["loss_cls", "loss_box_reg"]


def test_common_limit_ignores_what_is_not_finite(finished_run):
    steps = read_run(str(finished_run)).steps
    largest = max(max(step.scalars["total_loss"][1]) for step in steps)
    steps[0].scalars["total_loss"][1][3] = float("inf")
    steps[0].scalars["total_loss"][1][4] = float("nan")
    assert loss_limit(steps) == largest
    assert loss_limit([]) is None
    assert is_svg(plot_losses(steps[0], LIGHT, loss_limit(steps)))


def test_long_curves_become_means_of_neighbours():
    iterations, values = _thinned((list(range(4000)), [float(i % 10) for i in range(4000)]))
    assert len(iterations) == 400
    assert values == pytest.approx(np.full(400, 4.5))
    assert _thinned(([19, 39], [1.0, 2.0]))[1].tolist() == [1.0, 2.0]
