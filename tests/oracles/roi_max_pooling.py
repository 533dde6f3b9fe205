"""RoI max pooling cell by cell (SPEC 5.1).

A side from x1 to x2, both inclusive pixels, covers the cells round(x1 / stride) to round(x2 / stride), halves away from
zero, at least one. Bin b of n covers, counted from the first of these `cells`, floor(b * cells / n) up to, but not
including, ceil((b + 1) * cells / n), as far as the map reaches. A bin's value is its highest cell; an empty bin is 0
and passes no gradient; a bin's gradient goes to its highest cell, the first one if several are equally high.

Caffe's layer multiplies b by a rounded cells / n, in single precision. That reaches one cell further than the rule in a
few cases, up to a map of 64 cells only in the last of 7 bins over 57 cells; `single_precision` does the same.
"""

import math
from typing import List, Sequence, Tuple

import numpy as np


def round_half_away(value: float) -> int:
    """Nearest integer; halves away from zero, as C's and MATLAB's round."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def bins_of(cells: int, bins: int, single_precision: bool = False) -> List[Tuple[int, int]]:
    """(first cell, cell after the last) of each bin."""
    if single_precision:
        side = np.float32(cells) / np.float32(bins)
        return [(math.floor(np.float32(b) * side), math.ceil(np.float32(b + 1) * side)) for b in range(bins)]
    return [(b * cells // bins, -((b + 1) * cells // -bins)) for b in range(bins)]


def cells_of(
    box: Sequence[float], stride: float, inclusive_corners: bool = True, round_corners: bool = False
) -> Tuple[int, int, int, int]:
    """First column, first row, number of columns, number of rows of a box with continuous corners.

    Args:
        box: x1, y1, x2, y2 in pixels of the network's input; x2 and y2 are where the box ends.
        stride: pixels per cell.
        inclusive_corners: take the last pixel of the box, x2 - 1 and y2 - 1; else x2 and y2 as they are.
        round_corners: round these corners to whole pixels first, as the MATLAB release does.
    """
    last = 1.0 if inclusive_corners else 0.0
    corners = [float(box[0]), float(box[1]), float(box[2]) - last, float(box[3]) - last]
    if round_corners:
        corners = [round_half_away(corner) for corner in corners]
    x1, y1, x2, y2 = (round_half_away(corner / stride) for corner in corners)
    return x1, y1, max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)


def roi_max_pool(
    feature: np.ndarray, box: Sequence[float], bins: int, stride: float = 16, single_precision: bool = True, **corners
) -> Tuple[np.ndarray, np.ndarray]:
    """Pool a map (C, Hi, Wi) over one box.

    Args:
        corners: `inclusive_corners` and `round_corners` of ``cells_of``.

    Returns:
        values (C, bins, bins), and the cell that each comes from, (C, bins, bins, 2) as row, column; -1 if empty.
    """
    first_column, first_row, columns, rows = cells_of(box, stride, **corners)
    channels, height, width = feature.shape
    values = np.zeros((channels, bins, bins))
    origins = np.full((channels, bins, bins, 2), -1)
    for i, (top, bottom) in enumerate(bins_of(rows, bins, single_precision)):
        for j, (left, right) in enumerate(bins_of(columns, bins, single_precision)):
            inside = [
                (r, c)
                for r in range(first_row + top, first_row + bottom)
                for c in range(first_column + left, first_column + right)
                if 0 <= r < height and 0 <= c < width
            ]
            for channel in range(channels):
                if inside:
                    best = max(inside, key=lambda cell: feature[(channel, *cell)])  # the first of equals
                    values[channel, i, j] = feature[(channel, *best)]
                    origins[channel, i, j] = best
    return values, origins


def roi_max_pool_gradient(
    shape: Sequence[int], origins: Sequence[np.ndarray], upstream: Sequence[np.ndarray]
) -> np.ndarray:
    """Gradient of a map of `shape` (C, Hi, Wi) from the gradients of its pooled regions.

    Args:
        origins: of ``roi_max_pool``, region by region.
        upstream: (C, bins, bins), region by region.
    """
    gradient = np.zeros(shape)
    for cells, values in zip(origins, upstream):
        for channel, i, j in np.ndindex(*values.shape):
            row, column = cells[channel, i, j]
            if row >= 0:
                gradient[channel, row, column] += values[channel, i, j]
    return gradient
