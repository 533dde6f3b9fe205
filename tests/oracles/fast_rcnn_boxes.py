"""Best overlap and coding of single boxes with continuous corners x1, y1, x2, y2 (SPEC 0, 4.4).

Coding (equation 2): shifts of the centre in units of the region's sides, and logarithms of the ratios of the sides.
"""

import math
from typing import List, Sequence, Tuple

from .overlap import Box, overlap


def best_overlap(box: Box, objects: Sequence[Box]) -> Tuple[int, float]:
    """Index of the object that `box` overlaps most, the first of equals, and the overlap; without objects (-1, 0.0)."""
    best, highest = -1, 0.0
    for index, other in enumerate(objects):
        value = overlap(box, other)
        if best < 0 or value > highest:
            best, highest = index, value
    return best, highest


def encode(region: Box, target: Box) -> List[float]:
    """(dx, dy, dw, dh) that take `region` to `target`."""
    x1, y1, x2, y2 = (float(value) for value in region)
    u1, v1, u2, v2 = (float(value) for value in target)
    width, height = x2 - x1, y2 - y1
    return [
        ((u1 + u2) / 2 - (x1 + x2) / 2) / width,
        ((v1 + v2) / 2 - (y1 + y2) / 2) / height,
        math.log((u2 - u1) / width),
        math.log((v2 - v1) / height),
    ]


def decode(region: Box, deltas: Sequence[float], one_pixel_larger: bool = False) -> List[float]:
    """The box that `deltas` make of `region`: the inverse of ``encode``.

    Args:
        one_pixel_larger: end one pixel further right and down, as py-faster-rcnn does, which takes the end of the box
            for its last pixel.
    """
    x1, y1, x2, y2 = (float(value) for value in region)
    dx, dy, dw, dh = (float(value) for value in deltas)
    centre_x, centre_y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
    width, height = math.exp(dw) * (x2 - x1), math.exp(dh) * (y2 - y1)
    further = 1.0 if one_pixel_larger else 0.0
    return [
        centre_x - width / 2,
        centre_y - height / 2,
        centre_x + width / 2 + further,
        centre_y + height / 2 + further,
    ]


def clip(box: Box, height: float, width: float) -> List[float]:
    """The part of `box` inside an image."""
    x1, y1, x2, y2 = box
    return [min(max(x1, 0.0), width), min(max(y1, 0.0), height), min(max(x2, 0.0), width), min(max(y2, 0.0), height)]
