"""How all plots look: colours for light and for dark pages, fonts, axes.

Colours are of Okabe and Ito's set, which colour-blind people tell apart; lines differ in their dashes besides.
"""

import io
from dataclasses import dataclass
from typing import Dict, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["DARK", "LIGHT", "Theme", "as_png", "as_svg", "new_axes", "style"]

_WIDTH, _HEIGHT = 4.6, 2.9  # inches; the page scales


@dataclass(frozen=True)
class Theme:
    """Colours of a plot.

    Attributes:
        ink: text and the most important line.
        faint: grid and axes.
        series: colours of lines and bars.
    """

    ink: str
    faint: str
    series: Tuple[str, ...]


LIGHT = Theme(ink="#24292f", faint="#d0d4d9", series=("#0072B2", "#D55E00", "#009E73", "#AA4499"))
DARK = Theme(ink="#dfe3e8", faint="#3d444d", series=("#56B4E9", "#E69F00", "#2CC295", "#CC79A7"))


def new_axes(height: float = _HEIGHT) -> Tuple[Figure, Axes]:
    """One plot of the report, as wide as all others; to be called, and drawn in, with the style's settings.

    Args:
        height: in inches.
    """
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    return figure, axes


def style(theme: Theme) -> Dict[str, object]:
    """matplotlib's settings for a theme, for ``matplotlib.rc_context``."""
    return {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "grid.color": theme.faint,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.5,
        "svg.hashsalt": "frcnn_alt",  # the same report for the same run
        "text.parse_math": False,  # names are shown as they are: a dollar begins no formula
    }


def as_svg(figure: Figure, transparent: bool = True) -> str:
    """The figure as the text of an SVG file; `transparent` leaves out its background."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue()


def as_png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file, on white; its resolution is matplotlib's "savefig.dpi"."""
    figure.set_facecolor("white")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
