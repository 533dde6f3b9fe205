"""The MATLAB release's test cut-off, its own way round: thresholds on the boxes before NMS, then NMS (SPEC 5.4).

Rule: of each class keep the 100 best boxes of an image; then, over the whole data set, the 40 x number-of-images best
boxes of the class, with all that have the same score as the last of them; then NMS within each image and class, which
drops a box whose IoU with a better one that stays is above the threshold. The numbers are arguments here.
"""

from typing import List, Tuple

import numpy as np

# class, score, x1, y1, x2, y2
Detection = Tuple[int, float, float, float, float, float]


def iou_is_above(one: np.ndarray, other: np.ndarray, threshold: float) -> bool:
    """Whether the IoU of two XYXY boxes exceeds `threshold`; without a division, so that equality is exact."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return intersection > threshold * (areas - intersection)


def set_wide_detections(
    images: List[Tuple[np.ndarray, np.ndarray]],
    mean_boxes: int,
    per_image: int,
    score_threshold: float,
    nms_threshold: float,
) -> Tuple[List[List[Detection]], List[float]]:
    """What is left of a data set.

    Args:
        images: boxes (R, K, 4) XYXY and scores (R, K) of each image; no two scores of one class and image are equal.
        mean_boxes: boxes of a class per image, over the data set, before NMS.
        per_image: boxes of a class in one image, before that; -1 is no limit.
        score_threshold: scores have to be above it.
        nms_threshold: an IoU above it is suppressed.

    Returns:
        The detections of each image, sorted, and the threshold of each class (-inf where no box was left out).
    """
    detections: List[List[Detection]] = [[] for _ in images]
    thresholds = []
    for label in range(images[0][1].shape[1] if images else 0):
        candidates = []
        for _, scores in images:
            of_class = scores[:, label].astype(np.float64)
            order = [r for r in np.argsort(-of_class, kind="stable") if of_class[r] > score_threshold]
            candidates.append(order if per_image < 0 else order[:per_image])
        of_set = [float(scores[r, label]) for (_, scores), rows in zip(images, candidates) for r in rows]
        ranked = sorted(of_set, reverse=True)
        limit = mean_boxes * len(images)
        threshold = ranked[limit - 1] if len(ranked) >= limit else -np.inf
        thresholds.append(threshold)
        for index, rows in enumerate(candidates):
            boxes, scores = images[index]
            staying: List[int] = []
            for r in rows:
                if float(scores[r, label]) < threshold:
                    continue
                box = boxes[r, label].astype(np.float64)
                if not any(iou_is_above(box, boxes[s, label].astype(np.float64), nms_threshold) for s in staying):
                    staying.append(r)
            detections[index] += [(label, float(scores[r, label]), *map(float, boxes[r, label])) for r in staying]
    return [sorted(of_image) for of_image in detections], thresholds
