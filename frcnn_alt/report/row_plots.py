"""Plots of a table's rows: the paper's numbers beside ours, a dot for each seed."""

from typing import NamedTuple, Optional, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plot_style import Theme, as_svg, style

__all__ = ["PlottedRow", "plot_rows"]


class PlottedRow(NamedTuple):
    """A row of a table.

    Attributes:
        label: what stands beside it.
        paper: the paper's number, if there is one.
        values: ours, one for each seed.
    """

    label: str
    paper: Optional[float]
    values: Sequence[float]


def plot_rows(rows: Sequence[PlottedRow], metric: str, theme: Theme) -> str:
    """The paper's numbers on the left, ours on the right, each on an axis of its own, as SVG text.

    Two axes, because the data sets need not be the same: what can be compared is the order of the rows and their
    distances. Without any number of the paper there is one axis.

    Args:
        rows: from top to bottom.
        metric: label of the axes.
        theme: colours.
    """
    with matplotlib.rc_context(style(theme)):
        panels = 2 if any(row.paper is not None for row in rows) else 1
        figure = Figure(figsize=(3.4 + 2.5 * panels, 1.1 + 0.27 * len(rows)), layout="constrained")
        axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        positions = np.arange(len(rows))
        for panel in axes:
            panel.set_facecolor("none")
            panel.grid(True, axis="both")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_xlabel(metric)
        if panels == 2:
            _plot_paper(axes[0], rows, theme)
        _plot_ours(axes[-1], rows, theme)
        axes[0].set_yticks(positions, [row.label for row in rows])
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        return as_svg(figure)


def _plot_paper(axes: Axes, rows: Sequence[PlottedRow], theme: Theme) -> None:
    axes.set_title("the paper")
    for position, row in enumerate(rows):
        if row.paper is not None:
            axes.plot(row.paper, position, "D", color=theme.ink, markersize=4.5)


def _plot_ours(axes: Axes, rows: Sequence[PlottedRow], theme: Theme) -> None:
    axes.set_title("here: seeds and mean")
    for position, row in enumerate(rows):
        values = [value for value in row.values if np.isfinite(value)]
        if values:
            axes.plot(values, [position] * len(values), "o", color=theme.series[0], alpha=0.65, markersize=4.5)
            axes.plot(np.mean(values), position, "|", color=theme.series[1], markersize=13, markeredgewidth=2)
