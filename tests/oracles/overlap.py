"""Intersection over union of two boxes (x1, y1, x2, y2), in both ways to count their sides (SPEC 0).

Continuous corners: a box is x2 - x1 wide. Inclusive ones, the first and the last pixel inside: x2 - x1 + 1.
"""

from typing import Sequence

Box = Sequence[float]


def overlap(a: Box, b: Box) -> float:
    """IoU of boxes with continuous corners; 0 where they do not share an area."""
    return _share(a, b, 0.0)


def overlap_of_pixels(a: Box, b: Box) -> float:
    """Pixels in both boxes over pixels in either; both corners are inside a box."""
    return _share(a, b, 1.0)


def _share(a: Box, b: Box, further: float) -> float:
    """IoU of boxes that end `further` beyond x2 and y2."""
    ax1, ay1, ax2, ay2 = (float(value) for value in a)
    bx1, by1, bx2, by2 = (float(value) for value in b)
    width = min(ax2, bx2) - max(ax1, bx1) + further
    height = min(ay2, by2) - max(ay1, by1) + further
    shared = max(width, 0.0) * max(height, 0.0)
    area_a = (ax2 - ax1 + further) * (ay2 - ay1 + further)
    area_b = (bx2 - bx1 + further) * (by2 - by1 + further)
    return shared / (area_a + area_b - shared) if shared > 0 else 0.0
