"""Two sets of detections of one image, paired and compared."""

import numpy as np

# The model computes in single precision; what it is compared with does in double.
BOX_TOLERANCE = 1e-3  # pixels of the original image
SCORE_TOLERANCE = 1e-5


def without_slivers(detections, pixel):
    """Detections wider and higher than a pixel of the network's input.

    A box that is regressed to a place outside the image is clipped to the last pixel before the border by the
    originals, whose corners are pixels, and to nothing by detectron2, which drops it then.
    """
    boxes, scores, classes = detections[:3]
    proper = (boxes[:, 2:] - boxes[:, :2] > 1.001 * np.array(pixel)).all(axis=1)
    return boxes[proper], scores[proper], classes[proper]


def differences(found, expected, pixel):
    """Largest difference of a box corner and of a score, with detections paired one to one within their class.

    `found` and `expected` begin with boxes, scores, classes; a missing or surplus detection is an infinite difference.
    """
    found, expected = without_slivers(found, pixel), without_slivers(expected, pixel)
    if len(found[0]) != len(expected[0]):
        return np.inf, np.inf
    of_boxes, of_scores, free = 0.0, 0.0, np.ones(len(found[0]), dtype=bool)
    for box, score, label in zip(*expected):
        candidates = np.flatnonzero(free & (found[2] == label))
        if len(candidates) == 0:
            return np.inf, np.inf
        box_distances = np.abs(found[0][candidates] - box).max(axis=1)
        score_distances = np.abs(found[1][candidates] - score)
        nearest = np.argmin(box_distances / BOX_TOLERANCE + score_distances / SCORE_TOLERANCE)
        free[candidates[nearest]] = False
        of_boxes, of_scores = max(of_boxes, box_distances[nearest]), max(of_scores, score_distances[nearest])
    return of_boxes, of_scores


def are_same(found, expected, pixel):
    of_boxes, of_scores = differences(found, expected, pixel)
    return of_boxes < BOX_TOLERANCE and of_scores < SCORE_TOLERANCE
