"""Boxes as each preset's original program decodes them, for tests of what becomes of them."""

import numpy as np
from oracles.box_coding import clamp_scales, decode_matlab, decode_pyfrcnn
from oracles.overlap import overlap_of_pixels
from oracles.proposal_selection import clip
from small_rpn import STATISTICS, inclusive

DECODE = {"paper": decode_matlab, "pyfrcnn": decode_pyfrcnn}
# (mean, std) of each preset's deltas, which the paper's network has in normalised units.
UNITS = {"paper": STATISTICS, "pyfrcnn": ([[0.0] * 4], [[1.0] * 4])}


def decoded_anchors(preset, anchors, deltas):
    """The boxes that `deltas` (R, 4), in the network's units, make of `anchors` (R, 4), in inclusive pixels."""
    mean, std = UNITS[preset]
    return [
        DECODE[preset](anchor, clamp_scales(delta)) for anchor, delta in zip(inclusive(anchors), deltas * std + mean)
    ]


def continuous(boxes):
    return np.array(boxes, dtype=np.float64) + [0, 0, 1, 1]


def hang_on_rounding(candidates, height, width, least, threshold):
    """Whether a rounding error decides on a box: by its smallest side or by its overlap with another."""
    clipped = [clip(box, height, width) for box in candidates]
    sides = np.array([[x2 - x1 + 1, y2 - y1 + 1] for x1, y1, x2, y2 in clipped])
    overlaps = [overlap_of_pixels(a, b) for i, a in enumerate(clipped) for b in clipped[:i]]
    return (np.abs(sides - least) < 1e-3).any() or (np.abs(np.array(overlaps) - threshold) < 1e-5).any()
