"""Recall of the proposals while RPN steps were trained (TEST.EVAL_PERIOD), and its plot."""

import itertools
from typing import Dict, Optional, Sequence, Tuple

import matplotlib

from .plot_style import Theme, as_svg, new_axes, style
from .run import StepRecord
from .scalars import Curve

__all__ = ["plot_recall_over_iterations", "recall_over_iterations"]

_KEYS = {"IoU 0.5": "recall50@300", "IoU 0.7": "recall70@300"}
_DASHES = ("-", "--")


def recall_over_iterations(step: StepRecord, dataset: str) -> Dict[str, Curve]:
    """Recall of the 300 best proposals over the iterations done, by "IoU 0.5" and "IoU 0.7"; {} if it was not measured.

    The last point is what the step's finished network reaches.

    Args:
        step: any.
        dataset: of DATASETS.TEST.

    Returns:
        numbers of iterations, and recall in percent.
    """
    curves: Dict[str, Curve] = {}
    for name, key in _KEYS.items():
        found = _scalar(step, dataset, key)
        if found is None:
            continue
        # Logged are the numbers of iterations, which count from 0.
        iterations, values = [i + 1 for i in found[0]], list(found[1])
        if dataset in step.recall and key in step.recall[dataset]:
            iterations, values = [*iterations, step.max_iter], [*values, step.recall[dataset][key]]
        curves[name] = iterations, values
    return curves


def _scalar(step: StepRecord, dataset: str, key: str) -> Optional[Curve]:
    """By detectron2's name for it, in which the data set is left out where there is only one."""
    names = (f"{dataset}/box_proposals/{key}", f"box_proposals/{key}")
    return next((step.scalars[name] for name in names if name in step.scalars), None)


def plot_recall_over_iterations(steps: Sequence[Tuple[str, StepRecord]], dataset: str, theme: Theme) -> str:
    """Recall of the 300 best proposals over the iterations of each step, as SVG text.

    Args:
        steps: what the lines are called, and a step that was evaluated on `dataset` while it was trained.
        dataset: of DATASETS.TEST.
        theme: colours.
    """
    with matplotlib.rc_context(style(theme)):
        figure, axes = new_axes()
        for (title, step), color in zip(steps, itertools.cycle(theme.series)):
            curves = recall_over_iterations(step, dataset)
            for (name, curve), dashes in zip(curves.items(), _DASHES):
                axes.plot(
                    *curve, dashes, color=color, marker="o", markersize=3, label=f"{title}, {name}", clip_on=False
                )
        axes.set_xlim(0, max((step.max_iter for _, step in steps), default=None))
        axes.set_ylim(0, 102)
        axes.set_xlabel("iterations of the step")
        axes.set_ylabel("recall of 300 proposals, %")
        axes.legend(loc="best")
        return as_svg(figure)
