"""Greedy non-maximum suppression of thousands of boxes (SPEC 4.5, 5.4).

The rule of ``oracles.proposal_selection.suppress``, box by many boxes. A box is (x1, y1, x2, y2) of its first and last
pixels, as everywhere in the original programs: x2 - x1 + 1 wide.
"""

import numpy as np


def overlaps(box, boxes):
    """IoU of one box with many."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]) + 1
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return shared / (areas + (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - shared)


def suppress(boxes, scores, threshold):
    """Indices of the boxes that remain, best first: each removes the worse ones that overlap it by more."""
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        remaining = remaining[overlaps(boxes[best], boxes[remaining]) <= threshold]
    return np.array(kept, dtype=int)
