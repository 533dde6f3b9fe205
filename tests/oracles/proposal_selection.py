"""From the decoded boxes and scores of an image to its proposals, in the originals' order and pixels (SPEC 4.5).

All boxes are clipped to the image; those with a side below 16 pixels of the original image are dropped; the rest is
ordered by score, of equals the first anchor first; the best are kept; of these each removes the worse ones that overlap
it by more than 0.7; the best of what remains are kept.

Each of the paper's ablations leaves a part of it out (paper 4.1, Table 2; SPEC 8.1): no box removes another; the boxes
that are left are drawn by lot, not ordered by score, and hence none removes another either.

Boxes are inclusive 0-based pixels of the network's input, x2 - x1 + 1 wide.
"""

from .overlap import overlap_of_pixels


def clip(box, height, width):
    """Corners moved onto the first or last pixel of the image."""
    x1, y1, x2, y2 = box
    return [
        min(max(x1, 0), width - 1),
        min(max(y1, 0), height - 1),
        min(max(x2, 0), width - 1),
        min(max(y2, 0), height - 1),
    ]


def is_large_enough(box, scale, least_side):
    """Whether both sides reach `least_side` pixels of the original image.

    Args:
        scale: (vertical, horizontal) network pixels per original pixel.
    """
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    return height / scale[0] >= least_side and width / scale[1] >= least_side


def suppress(boxes, threshold):
    """Indices of the boxes that remain; `boxes` are ordered from the best on."""
    kept = []
    for index, box in enumerate(boxes):
        if all(overlap_of_pixels(box, boxes[better]) <= threshold for better in kept):
            kept.append(index)
    return kept


def select_proposals(
    boxes, scores, height, width, scale=(1.0, 1.0), *, least_side=16, before_nms=6000, threshold=0.7, after_nms=300
):
    """Proposals of an image, the best first, as (box, score); a threshold of None removes none ("no NMS")."""
    candidates = []
    for box, score in zip(boxes, scores):
        box = clip(box, height, width)
        if is_large_enough(box, scale, least_side):
            candidates.append((box, score))
    candidates.sort(key=lambda candidate: -candidate[1])  # keeps the order of equals
    candidates = candidates[:before_nms]
    if threshold is None:
        return candidates[:after_nms]
    kept = suppress([box for box, _ in candidates], threshold)[:after_nms]
    return [candidates[index] for index in kept]


def draw_proposals(boxes, lots, height, width, scale=(1.0, 1.0), *, least_side=16, number=300):
    """Boxes of an image that are drawn ("no cls"): those that are left and have the lowest lots, the lowest first."""
    left = []
    for box, lot in zip(boxes, lots):
        box = clip(box, height, width)
        if is_large_enough(box, scale, least_side):
            left.append((lot, box))
    return [box for _, box in sorted(left)[:number]]
