"""Outlines of the demo's classes and of its clutter, and how they are filled.

An outline is a list of rings (closed polygons, (P, 2) float64 arrays of x, y). In its own frame a class outline lies in
[-1, 1]^2; in an image the unit is the pixel and the frame is continuous (pixel i covers [i, i + 1]). A second ring is
a hole in the first.
"""

from typing import Callable, Dict, List, Tuple

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["CLASS_OUTLINES", "bar", "ellipse", "fill", "outline_box", "place"]

Outline = List[np.ndarray]

_SUPERSAMPLING = 4  # sub-pixels per side: PIL fills polygons without antialiasing


def _circle(radius: float = 1.0) -> np.ndarray:
    angles = np.arange(72) * (2 * np.pi / 72)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _cross() -> Outline:
    quarter = np.array([(0.32, -1.0), (0.32, -0.32), (1.0, -0.32)])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # a quarter turn of row vectors
    return [np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])]


def _disc() -> Outline:
    return [_circle()]


def _ring() -> Outline:
    return [_circle(), _circle(0.55)]


def _triangle() -> Outline:
    return [np.array([(0.0, -1.0), (0.75**0.5, 0.5), (-(0.75**0.5), 0.5)])]


CLASS_OUTLINES: Dict[str, Callable[[], Outline]] = {
    "cross": _cross,
    "disc": _disc,
    "ring": _ring,
    "triangle": _triangle,
}


def bar() -> Outline:
    """A thin bar: clutter, of no class."""
    return [np.array([(-1, -0.06), (1, -0.06), (1, 0.06), (-1, 0.06)])]


def ellipse() -> Outline:
    """An ellipse three times as long as wide: clutter, of no class (discs are stretched by 1.25 at most)."""
    return [_circle() * np.array([1.0, 1 / 3])]


def place(outline: Outline, angle: float, stretch: float) -> Outline:
    """Stretch an outline along x by `stretch`, turn it by `angle` (radians) and scale it to a box of area 1 at (0, 0).

    Returns:
        the outline with the top left corner of its bounding box at the origin and width x height = 1.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    turned = [(ring * np.array([stretch, 1.0])) @ turn for ring in outline]
    x1, y1, x2, y2 = outline_box(turned)
    return [(ring - (x1, y1)) / np.sqrt((x2 - x1) * (y2 - y1)) for ring in turned]


def outline_box(outline: Outline) -> Tuple[float, float, float, float]:
    """The bounding box (x1, y1, x2, y2) of an outline, in its frame."""
    low, high = outline[0].min(axis=0), outline[0].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def fill(outline: Outline, height: int, width: int) -> np.ndarray:
    """Return the (height, width) float32 coverage in [0, 1] of an outline given in pixels of that image."""
    cover = np.zeros((height, width), np.float32)
    x1, y1, x2, y2 = outline_box(outline)
    left, top = max(int(x1) - 1, 0), max(int(y1) - 1, 0)  # one pixel to spare for the edge
    right, bottom = min(int(x2) + 2, width), min(int(y2) + 2, height)
    canvas = Image.new("L", ((right - left) * _SUPERSAMPLING, (bottom - top) * _SUPERSAMPLING), 0)
    draw = ImageDraw.Draw(canvas)
    for index, ring in enumerate(outline):
        # PIL's coordinates are those of sub-pixel centres, half a sub-pixel into the continuous frame
        corners = (ring - (left, top)) * _SUPERSAMPLING - 0.5
        draw.polygon([tuple(corner) for corner in corners.tolist()], fill=255 if index == 0 else 0)
    cover[top:bottom, left:right] = np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32) / 255.0
    return cover
