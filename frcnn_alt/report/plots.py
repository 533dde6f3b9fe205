"""The report's plots as SVG text: losses of a step, recall of the proposals, AP by class."""

import itertools
from typing import Dict, List, Optional, Sequence, Tuple

import matplotlib
import numpy as np

from .plot_style import DARK, LIGHT, Theme, as_svg, new_axes, style
from .run import StepRecord
from .scalars import Curve
from .text import percent

__all__ = ["DARK", "LIGHT", "Theme", "loss_limit", "loss_names", "plot_class_bars", "plot_losses", "plot_recall_by_iou"]
__all__ += ["plot_recall_by_number"]


_MAX_POINTS = 400
_DASHES = ("-", "--", "-.", ":")
_LOSS_NAMES = {
    "loss_rpn_cls": "objectness",
    "loss_rpn_loc": "box regression",
    "loss_cls": "classification",
    "loss_box_reg": "box regression",
}
_IOU_PERCENTS = range(50, 100, 5)


def loss_names(step: StepRecord) -> List[str]:
    """The parts of a step's loss that were logged, classification first."""
    order = list(_LOSS_NAMES)  # so that box regression has the same colour everywhere
    names = [name for name in step.scalars if name.startswith("loss")]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def loss_limit(steps: Sequence[StepRecord]) -> Optional[float]:
    """The upper end of the loss axis that suits several steps, so that they can be compared; None without curves."""
    finite = [np.array(step.scalars["total_loss"][1]) for step in steps if "total_loss" in step.scalars]
    finite = [values[np.isfinite(values)] for values in finite]
    return max((float(values.max()) for values in finite if len(values)), default=None)


def _thinned(curve: Curve) -> Tuple[np.ndarray, np.ndarray]:
    """At most `_MAX_POINTS` points, means of neighbours: 80000 iterations would be a band, not a line."""
    parts = min(len(curve[0]), _MAX_POINTS)
    return tuple(np.array([part.mean() for part in np.array_split(np.array(values), parts)]) for values in curve)


def plot_losses(step: StepRecord, theme: Theme, limit: Optional[float] = None) -> str:
    """Total loss and its parts over the iterations of one step; dotted lines where the learning rate drops.

    Args:
        step: with the scalar "total_loss".
        theme: colours.
        limit: upper end of the loss axis.
    """
    with matplotlib.rc_context(style(theme)):
        figure, axes = new_axes()
        for drop in step.lr_steps:
            axes.axvline(drop, color=theme.faint, linestyle=":", linewidth=1.2)
        axes.plot(*_thinned(step.scalars["total_loss"]), color=theme.ink, label="total")
        for name, color, dashes in zip(loss_names(step), theme.series, ("-", "--", "-.", ":")):
            label = _LOSS_NAMES.get(name, name)
            axes.plot(*_thinned(step.scalars[name]), color=color, linestyle=dashes, label=label)
        axes.set_xlim(0, step.max_iter)
        axes.set_ylim(0, limit * 1.05 if limit else None)
        axes.set_title(step.title)
        axes.set_xlabel("iteration")
        axes.set_ylabel("loss")
        axes.legend(loc="upper right")
        return as_svg(figure)


def plot_recall_by_number(recalls: Dict[str, Dict[str, float]], theme: Theme) -> str:
    """Recall at IoU 0.5 and 0.7 over the number of proposals of an image.

    Args:
        recalls: what the lines are called -> the values of ``proposal_recall``.
        theme: colours.
    """
    with matplotlib.rc_context(style(theme)):
        figure, axes = new_axes()
        for (name, recall), color in zip(recalls.items(), itertools.cycle(theme.series)):
            limits = sorted(int(key.split("@")[1]) for key in recall if key.startswith("recall50@"))
            for overlap, dashes in ((50, "-"), (70, "--")):
                values = [recall[f"recall{overlap}@{limit}"] for limit in limits]
                axes.plot(
                    limits, values, dashes, color=color, marker="o", markersize=3, label=f"{name}, IoU {overlap / 100}"
                )
        axes.set_xscale("log")
        axes.set_xticks(limits, [str(limit) for limit in limits])
        axes.minorticks_off()
        axes.set_ylim(0, 102)
        axes.set_xlabel("proposals of an image")
        axes.set_ylabel("recall, %")
        axes.legend(loc="lower right")
        return as_svg(figure)


def plot_recall_by_iou(recalls: Dict[str, Dict[str, float]], theme: Theme, limit: int = 300) -> str:
    """Recall of the best `limit` proposals over the IoU that counts as covered, as in the paper's Figure 4."""
    with matplotlib.rc_context(style(theme)):
        figure, axes = new_axes()
        overlaps = [overlap / 100 for overlap in _IOU_PERCENTS]
        for (name, recall), color, dashes in zip(
            recalls.items(), itertools.cycle(theme.series), itertools.cycle(_DASHES)
        ):
            values = [recall[f"recall{overlap}@{limit}"] for overlap in _IOU_PERCENTS]
            axes.plot(overlaps, values, dashes, color=color, marker="o", markersize=3, label=name)
        axes.set_ylim(0, 102)
        axes.set_xlabel("IoU")
        axes.set_ylabel(f"recall of {limit} proposals, %")
        axes.legend(loc="lower left")
        return as_svg(figure)


def plot_class_bars(values: Sequence[Tuple[str, float]], mean: float, theme: Theme) -> str:
    """AP50 of each class as bars, best first, and their mean as a line.

    Args:
        values: class name, AP50 in percent.
        mean: of the classes, in percent.
        theme: colours.
    """
    # NaN (a class without test objects) goes last and has no bar.
    ordered = sorted(values, key=lambda item: (np.isnan(item[1]), -item[1], item[0]))
    with matplotlib.rc_context(style(theme)):
        figure, axes = new_axes(height=0.9 + 0.27 * len(ordered))
        positions = np.arange(len(ordered))
        axes.barh(positions, np.nan_to_num([value for _, value in ordered]), height=0.68, color=theme.series[0])
        for position, (_, value) in zip(positions, ordered):
            axes.text(114, position, percent(value), ha="right", va="center")  # a column, clear of the mean's line
        axes.axvline(mean, color=theme.series[1], linestyle="--", linewidth=1.2)
        axes.set_title(f"mean {percent(mean)}", color=theme.series[1])
        axes.set_yticks(positions, [name for name, _ in ordered])
        axes.invert_yaxis()
        axes.set_xlim(0, 115)
        axes.set_xticks(range(0, 101, 20))
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel("AP50, %")
        return as_svg(figure)
