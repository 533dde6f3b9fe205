"""Stacked bars of the time by part: this machine's systems above, the paper's below on an axis of their own."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .files import write_bytes
from .plot_style import LIGHT, as_png, style
from .text import three_figures

__all__ = ["save_parts_plot"]

# Okabe and Ito's colours, which colour-blind people tell apart; what the paper did not measure is grey.
_COLORS = {
    "image_preparation": "#b8bcc2",
    "conv": "#0072B2",
    "proposals": "#E69F00",
    "region_wise": "#009E73",
    "rest": "#CC79A7",
}
_LEAST_SHARE = 0.07  # of the axis, of a bar with its number in it

Row = Tuple[str, Mapping[str, Optional[float]]]


def _bars(axes: Axes, rows: Sequence[Row], title: str) -> None:
    longest = max(sum(times.get(part) or 0.0 for part in _COLORS) for _, times in rows)
    for place, (_, times) in enumerate(rows):
        left = 0.0
        for part, color in _COLORS.items():
            width = times.get(part) or 0.0
            axes.barh(place, width, left=left, height=0.62, color=color, edgecolor="white", linewidth=0.6)
            if width > _LEAST_SHARE * longest:
                ink = "white" if part in ("conv", "region_wise") else "black"
                axes.text(left + width / 2, place, three_figures(times[part]), ha="center", va="center", color=ink)
            left += width
        axes.text(left + 0.012 * longest, place, three_figures(times["total"]), va="center", fontweight="bold")
    axes.set(
        xlim=(0, 1.12 * longest), yticks=range(len(rows)), yticklabels=[name for name, _ in rows], xlabel="ms an image"
    )
    axes.set_title(title)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _where(data: Dict[str, Any]) -> str:
    """The processor that the systems ran on."""
    machine = data["machine"]
    if any(system["device"].startswith("cuda") for system in data["systems"]):
        return machine["gpu"] or "GPU"
    return f"{machine['cpu'] or 'CPU'}, {machine['threads']} threads"


def save_parts_plot(
    data: Dict[str, Any], paper: Mapping[str, Mapping[str, float]], labels: Mapping[str, str], path: str
) -> None:
    """Write a PNG file, replacing what was there in one go.

    Args:
        data: of `parts_data`.
        paper: what the paper's rows are called -> milliseconds by part; may be empty.
        labels: what the parts are called.
        path: folders are made as needed.
    """
    panels: List[Tuple[str, List[Row]]] = [
        (f"measured on {_where(data)}", [(system["name"], system["milliseconds"]) for system in data["systems"]])
    ]
    if paper:
        panels.append(("the paper: K40 GPU (Selective Search on a CPU)", list(paper.items())))
    heights = [1.1 + 0.5 * len(rows) for _, rows in panels]
    with matplotlib.rc_context({**style(LIGHT), "savefig.dpi": 130}):
        figure = Figure(figsize=(8, sum(heights) + 0.5), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (title, rows) in zip(all_axes, panels):
            _bars(axes, rows, title)
        handles = [matplotlib.patches.Patch(color=color, label=labels[part]) for part, color in _COLORS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(_COLORS))
        write_bytes(path, as_png(figure))
