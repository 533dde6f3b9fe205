"""The two losses of the detector, region by region (SPEC 5.3).

Classification: the negative logarithm of the softmax score of the region's class, averaged over the regions.
Regression: for foreground, smooth L1 of the four differences between the deltas predicted for the region's class and
the normalised target; their sum is divided by the number of all regions.
"""

import math
from typing import List, Sequence, Tuple

import numpy as np

from .fast_rcnn_boxes import encode


def softmax(scores: Sequence[float]) -> List[float]:
    """Probabilities of one region's scores."""
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def smooth_l1(x: float, sigma: float = 1.0) -> float:
    """0.5 (sigma x)^2 where |x| < 1 / sigma^2, else |x| - 0.5 / sigma^2."""
    return 0.5 * (sigma * x) ** 2 if abs(x) < 1 / sigma**2 else abs(x) - 0.5 / sigma**2


def fast_rcnn_losses(
    scores: np.ndarray,
    deltas: np.ndarray,
    regions: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[int],
    mean: np.ndarray,
    std: np.ndarray,
    sigma: float = 1.0,
) -> Tuple[float, float]:
    """(classification, regression) over R regions.

    Args:
        scores: (R, K + 1), background last.
        deltas: (R, 4K) in normalised units, class by class; (R, 4) if all classes share one regressor.
        regions: (R, 4).
        targets: (R, 4), the object of each region; not looked at where the label is background.
        labels: 0 to K, of which K is background.
        mean, std: (K, 4), or (1, 4) with one regressor.
    """
    background = scores.shape[1] - 1
    classification = regression = 0.0
    for region, label in enumerate(labels):
        classification -= math.log(softmax([float(s) for s in scores[region]])[label])
        if label == background:
            continue
        row = label if len(mean) > 1 else 0
        wanted = encode(regions[region], targets[region])
        for axis in range(4):
            target = (wanted[axis] - float(mean[row, axis])) / float(std[row, axis])
            regression += smooth_l1(float(deltas[region, 4 * row + axis]) - target, sigma)
    return classification / len(labels), regression / len(labels)
