"""From the detector's outputs for the regions of an image to detections (SPEC 5.4).

Softmax; for each class the region's box moved by the deltas of that class and clipped to the image; then, class by
class, a cut before suppression, greedy suppression of boxes that overlap a better one by more than `nms_threshold`, and
a cut over all classes.

MATLAB, "paper": the 100 best boxes of a class, no least score, no limit afterwards.
py-faster-rcnn, "pyfrcnn": score > 0.05, at most 100 boxes of an image over all classes.
"""

from typing import List, NamedTuple, Optional

import numpy as np

from .fast_rcnn_boxes import clip, decode
from .fast_rcnn_losses import softmax
from .overlap import overlap


class Detection(NamedTuple):
    """One detected object."""

    label: int
    score: float
    box: List[float]  # x1, y1, x2, y2, continuous corners
    region: int  # index of the region that it comes from


def suppress(candidates: List[Detection], threshold: float) -> List[Detection]:
    """Greedy non-maximum suppression of `candidates`, which are ordered from the best on."""
    kept: List[Detection] = []
    for candidate in candidates:
        if all(overlap(candidate.box, better.box) <= threshold for better in kept):
            kept.append(candidate)
    return kept


def detect(
    scores: np.ndarray,
    deltas: np.ndarray,
    regions: np.ndarray,
    height: int,
    width: int,
    mean: np.ndarray,
    std: np.ndarray,
    *,
    best_of_class: Optional[int],
    least_score: Optional[float],
    limit: Optional[int],
    nms_threshold: float = 0.3,
    one_pixel_larger: bool = False,
) -> List[Detection]:
    """Detections of one image, the best first.

    Args:
        scores: (R, K + 1) before softmax, background last.
        deltas: (R, 4K) in normalised units.
        regions: (R, 4) continuous corners.
        height, width: of the image.
        mean, std: (K, 4).
        best_of_class: boxes of a class that enter suppression; None is no limit.
        least_score: only higher scores enter suppression; None takes all.
        limit: detections of the image over all classes; None is no limit.
        one_pixel_larger: py-faster-rcnn's decoding.
    """
    probabilities = [softmax([float(value) for value in row]) for row in scores]
    found: List[Detection] = []
    for label in range(scores.shape[1] - 1):
        candidates = []
        for region, probability in enumerate(probabilities):
            columns = slice(4 * label, 4 * label + 4)
            raw = deltas[region, columns].astype(np.float64) * std[label] + mean[label]
            box = clip(decode(regions[region], raw, one_pixel_larger), height, width)
            candidates.append(Detection(label, probability[label], box, region))
        candidates.sort(key=lambda candidate: -candidate.score)
        if best_of_class is not None:
            candidates = candidates[:best_of_class]
        if least_score is not None:
            candidates = [candidate for candidate in candidates if candidate.score > least_score]
        found += suppress(candidates, nms_threshold)
    found.sort(key=lambda detection: -detection.score)
    return found if limit is None else found[:limit]
