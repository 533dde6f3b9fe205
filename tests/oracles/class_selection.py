"""A detector of K classes asked about some of them alone (SPEC 8.11).

Its probability of a class, given that the region shows one of these classes or the background, is the share of that
class's exponential in the exponentials of these classes and the background.
"""

import math
from typing import List, Sequence

import numpy as np

from .fast_rcnn_boxes import decode


def conditional_probabilities(scores: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """(R, K + 1) scores before softmax, background last -> (R, L + 1) probabilities, in the order of `chosen`."""
    rows: List[List[float]] = []
    for row in scores:
        exponentials = [math.exp(float(row[label])) for label in (*chosen, len(row) - 1)]
        total = 0.0
        for value in exponentials:
            total += value
        rows.append([value / total for value in exponentials])
    return np.array(rows)


def boxes_of_classes(
    deltas: np.ndarray, regions: np.ndarray, mean: np.ndarray, std: np.ndarray, chosen: Sequence[int]
) -> np.ndarray:
    """(R, L, 4): each region's box for each of the `chosen` classes.

    Args:
        deltas: (R, 4K), or (R, 4) for one box of all classes, in units normalised by `mean` and `std`.
        regions: (R, 4) continuous corners.
        mean, std: (K, 4), or (1, 4) for all classes.
    """
    boxes = []
    for region, of_region in zip(regions, deltas):
        of_classes = []
        for label in chosen:
            one = 0 if len(of_region) == 4 else label
            row = 0 if len(mean) == 1 else label
            plain = [float(of_region[4 * one + i]) * float(std[row][i]) + float(mean[row][i]) for i in range(4)]
            of_classes.append(decode(region, plain))
        boxes.append(of_classes)
    return np.array(boxes)
