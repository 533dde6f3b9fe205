"""RoI warping place by place, and its derivatives by finite differences (SPEC 7.2).

A side of a box from x1 to x2 (continuous, x2 - x1 pixels long) is divided into 2P equal parts and sampled in the middle
of each. Pixel p of the image, whose middle is p + 0.5, is where cell p / stride is; between cells a value is the mean
of all cells weighted by max(0, 1 - distance) in both directions; beyond the outermost cells it is theirs. Corners are
not rounded. A bin is the highest of its 2 x 2 places.
"""

from typing import Callable, List, Sequence

import numpy as np


def places(start: float, end: float, count: int, stride: float) -> List[float]:
    """Feature coordinates of the samples along a side."""
    return [(start + (end - start) * (2 * b + 1) / (2 * count) - 0.5) / stride for b in range(count)]


def weights(place: float, cells: int) -> np.ndarray:
    """How much each cell of a row counts at a place."""
    place = min(max(place, 0.0), cells - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(place - np.arange(cells)))


def roi_warp(feature: np.ndarray, box: Sequence[float], bins: int, stride: float = 16) -> np.ndarray:
    """Warp a map (C, Hi, Wi) over one box, x1, y1, x2, y2 in continuous network pixels, to (C, bins, bins)."""
    channels, height, width = feature.shape
    samples = np.zeros((channels, 2 * bins, 2 * bins))
    for i, row in enumerate(places(box[1], box[3], 2 * bins, stride)):
        for j, column in enumerate(places(box[0], box[2], 2 * bins, stride)):
            samples[:, i, j] = weights(row, height) @ feature.astype(np.float64) @ weights(column, width)
    warped = np.zeros((channels, bins, bins))
    for i in range(bins):
        for j in range(bins):
            warped[:, i, j] = samples[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return warped


def finite_differences(function: Callable[[np.ndarray], float], at: np.ndarray, step: float) -> np.ndarray:
    """Derivative of `function` with respect to each number of `at`, by central differences."""
    gradient = np.zeros(np.shape(at))
    for index in np.ndindex(*np.shape(at)):
        higher, lower = np.array(at, np.float64), np.array(at, np.float64)
        higher[index] += step
        lower[index] -= step
        gradient[index] = (function(higher) - function(lower)) / (2 * step)
    return gradient
