"""Recall over IoU of several methods in one figure, as the paper's Figure 4: a panel for each number of proposals.

Shape letters: S runs (seeds) of one method, T IoU thresholds.
"""

import os
from typing import Dict, List, Mapping, Sequence, Union

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation import RecallCurves
from .files import write_bytes, write_text
from .plot_style import LIGHT, as_png, as_svg, style

__all__ = ["Runs", "plot_recall_curves", "runs_by_method"]

# What was measured of one method: once, or over several runs (seeds).
Runs = Union[RecallCurves, Sequence[RecallCurves]]

_COLORS = (*LIGHT.series, "#E69F00", "#56B4E9", LIGHT.ink)
_DASHES = ("-", "--", "-.", ":")
_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_LINE = 2.7, 2.35, 0.2  # inches
_LEGEND_COLUMNS = 4
_FORMATS = (".png", ".svg")


def runs_by_method(curves: Mapping[str, Runs]) -> Dict[str, List[RecallCurves]]:
    """`curves` with a list of runs for every method."""
    return {method: [runs] if isinstance(runs, RecallCurves) else list(runs) for method, runs in curves.items()}


def _check_comparable(by_method: Mapping[str, Sequence[RecallCurves]]) -> RecallCurves:
    """Return any of the runs: what it was measured on, and how, is that of all.

    Raises:
        ValueError: of two runs it is not, or there is none.
    """
    first_method, first = next(((method, run) for method, runs in by_method.items() for run in runs), ("", None))
    if first is None or not all(by_method.values()):
        empty = [method for method, runs in by_method.items() if not runs]
        raise ValueError(f"there is no recall to draw{' of ' + ', '.join(empty) if empty else ''}.")
    for method, runs in by_method.items():
        for run in runs:
            for name in ("dataset_name", "rule", "limits", "thresholds"):
                here, there = getattr(run, name), getattr(first, name)
                if here != there:
                    raise ValueError(
                        f"{method} and {first_method} cannot be drawn together: {name} is {here!r} and {there!r}."
                    )
    return first


def _draw(axes: Axes, number: int, runs: Sequence[RecallCurves], size: str, row: int, label: str) -> None:
    """The mean of S runs, S x T, with a band of one standard deviation on either side."""
    values = np.stack([run.recall[size][row] for run in runs])
    again, number = divmod(number, len(_COLORS))
    color, dashes = _COLORS[number], _DASHES[(number + again) % len(_DASHES)]  # no two of the first 28 look the same
    mean = values.mean(axis=0)
    # Above the axes: a recall of 0 or 1 would be hidden by them.
    axes.plot(runs[0].thresholds, mean, dashes, color=color, label=label, clip_on=False, zorder=3)
    if len(runs) > 1:
        spread = values.std(axis=0, ddof=1)
        low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
        axes.fill_between(runs[0].thresholds, low, high, color=color, alpha=0.18, linewidth=0)


def plot_recall_curves(curves: Mapping[str, Runs], path: str, sizes: Sequence[str] = ("all",)) -> None:
    """Draw recall over IoU, one curve a method, into a file.

    Panels stand beside each other for the numbers of proposals and below each other for `sizes`. Several runs of a
    method are drawn as their mean, with a band of one standard deviation on either side.

    Args:
        curves: method, as the legend has it -> what was measured, once or over several runs. All on one data set, by
            one rule, for the same numbers of proposals and IoUs.
        path: ends in .png or .svg; replaced in one go.
        sizes: of objects, such as ("small", "medium", "large").

    Raises:
        ValueError: the curves do not go together, or another kind of file is asked for.
    """
    extension = os.path.splitext(path)[1]
    if extension not in _FORMATS:
        raise ValueError(f"{path}: the figure is written as {' or '.join(_FORMATS)}.")
    by_method = runs_by_method(curves)
    any_run = _check_comparable(by_method)
    columns, rows = len(any_run.limits), len(sizes)
    legend_lines = 2.5 - (-len(by_method) // _LEGEND_COLUMNS)
    figsize = (_PANEL_WIDTH * columns + 0.4, _PANEL_HEIGHT * rows + 0.35 + _LEGEND_LINE * legend_lines)
    with matplotlib.rc_context({**style(LIGHT), "savefig.dpi": 160}):
        figure = Figure(figsize=figsize, layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes_of_size, size in zip(panels, sizes):
            for row, axes in enumerate(axes_of_size):
                _prepare(axes, any_run, size)
                for number, (method, runs) in enumerate(by_method.items()):
                    label = f"{method} ({len(runs)} runs)" if len(runs) > 1 else method
                    _draw(axes, number, runs, size, row, label)
            axes_of_size[0].set_ylabel(_recall_of(by_method, size))
        for axes, limit in zip(panels[0], any_run.limits):
            axes.set_title(f"{limit} proposals")
        for axes in panels[-1]:
            axes.set_xlabel("IoU")
        _add_legend(figure, panels[0][0], _about(any_run, by_method))
        _save(figure, path, extension)


def _prepare(axes: Axes, any_run: RecallCurves, size: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.set_xlim(min(any_run.thresholds), max(any_run.thresholds))
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 6))
    if not any_run.num_objects[size]:
        axes.text(0.5, 0.5, f"no {'' if size == 'all' else size + ' '}objects", transform=axes.transAxes, ha="center")


def _recall_of(by_method: Mapping[str, Sequence[RecallCurves]], size: str) -> str:
    """Of how many objects; runs on generated images may have different ones."""
    numbers = {run.num_objects[size] for runs in by_method.values() for run in runs}
    words = [str(*numbers)] if len(numbers) == 1 else []
    return " ".join(["recall of", *words, *([] if size == "all" else [size]), "objects"])


def _about(any_run: RecallCurves, by_method: Mapping[str, Sequence[RecallCurves]]) -> str:
    rule = {"one_to_one": "each proposal covers one object", "maximum": "each object has its best proposal"}
    several = max(map(len, by_method.values())) > 1
    band = "; mean of the runs, band of one standard deviation on either side" if several else ""
    return f"{any_run.dataset_name}, {rule.get(any_run.rule, any_run.rule)}{band}"


def _add_legend(figure: Figure, axes: Axes, title: str) -> None:
    """Below all panels, in lines of `_LEGEND_COLUMNS`; matplotlib itself fills columns."""
    items = list(zip(*axes.get_legend_handles_labels()))
    ordered = [item for column in range(_LEGEND_COLUMNS) for item in items[column::_LEGEND_COLUMNS]]
    columns = min(len(items), _LEGEND_COLUMNS)
    how = {"ncols": columns, "handlelength": 2.6, "title": title, "title_fontsize": 8.5}
    figure.legend(*zip(*ordered), loc="outside lower center", **how)


def _save(figure: Figure, path: str, extension: str) -> None:
    if extension == ".svg":
        figure.set_facecolor("white")
        write_text(path, as_svg(figure, transparent=False))
    else:
        write_bytes(path, as_png(figure))
