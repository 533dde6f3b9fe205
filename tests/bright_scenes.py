"""Pictures of which it is known what a proposal method has to find, and what may be said of any boxes at all."""

import numpy as np


def bright_rectangle(width, height, box, ground=20, bright=230):
    """H x W x 3: a bright rectangle, x1 y1 x2 y2, on dark ground."""
    image = np.full((height, width, 3), ground, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = bright
    return image


def iou(box, others):
    """Of one box with each of R x 4, in continuous pixels."""
    found = []
    for other in others.tolist():
        across = min(box[2], other[2]) - max(box[0], other[0])
        down = min(box[3], other[3]) - max(box[1], other[1])
        common = max(across, 0) * max(down, 0)
        areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
        found.append(common / (areas - common))
    return found


def check_boxes(boxes, scores, image, most):
    """Inside the image, with a size, no two alike, best first, at most so many."""
    height, width = image.shape[:2]
    assert boxes.shape == (len(scores), 4) and boxes.dtype == scores.dtype == np.float32
    assert len(boxes) <= most
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (width, height)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len({tuple(box) for box in boxes.tolist()}) == len(boxes)
    assert (np.diff(scores) <= 0).all() and np.isfinite(scores).all()


# Files that a camera or a program may leave: what matters is that nothing dies.
UNUSUAL = {
    "of one colour": np.full((60, 80, 3), 128, np.uint8),
    "one row": np.random.default_rng(0).integers(0, 255, (1, 200, 3), dtype=np.uint8),
    "one column": np.random.default_rng(0).integers(0, 255, (200, 1, 3), dtype=np.uint8),
    "one pixel": np.zeros((1, 1, 3), np.uint8),
    "two rows": np.random.default_rng(0).integers(0, 255, (2, 200, 3), dtype=np.uint8),
    "three rows": np.random.default_rng(0).integers(0, 255, (3, 200, 3), dtype=np.uint8),
    "noise": np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8),
    "black and white": np.kron(np.random.default_rng(0).integers(0, 2, (6, 8, 1)), np.ones((10, 10, 3))).astype(
        np.uint8
    )
    * 255,
}
