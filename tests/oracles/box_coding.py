"""Deltas between a box and its anchor, there and back, in the inclusive pixels of the originals (equation 2, SPEC 4.4).

There, in both programs: the shift of the centre in units of the anchor's sides, and the logarithms of the ratios of the
sides. Back, in the MATLAB release: the inverse. Back, in py-faster-rcnn: half the width is added to a centre that lies
half a pixel further right, and the end of the box that this gives is taken for its last pixel; so x2 and y2 come out
one larger, x1 and y1 as they should.

A box is (x1, y1, x2, y2), its first and last pixel, counted from 0: it is x2 - x1 + 1 wide.
"""

import math

# Both programs let dw and dh be anything. detectron2 takes larger ones for this, and so does the package (SPEC 4.4).
LARGEST_SCALE_DELTA = math.log(1000 / 16)


def sides(box):
    """(width, height)."""
    return box[2] - box[0] + 1, box[3] - box[1] + 1


def encode(anchor, box):
    """(dx, dy, dw, dh) that take `anchor` to `box`."""
    anchor_width, anchor_height = sides(anchor)
    width, height = sides(box)
    anchor_x, anchor_y = anchor[0] + (anchor_width - 1) / 2, anchor[1] + (anchor_height - 1) / 2
    x, y = box[0] + (width - 1) / 2, box[1] + (height - 1) / 2
    return [
        (x - anchor_x) / anchor_width,
        (y - anchor_y) / anchor_height,
        math.log(width / anchor_width),
        math.log(height / anchor_height),
    ]


def decode_matlab(anchor, deltas):
    """The box that `deltas` make of `anchor`, as the MATLAB release has it."""
    anchor_width, anchor_height = sides(anchor)
    dx, dy, dw, dh = deltas
    x = anchor[0] + (anchor_width - 1) / 2 + dx * anchor_width
    y = anchor[1] + (anchor_height - 1) / 2 + dy * anchor_height
    width, height = anchor_width * math.exp(dw), anchor_height * math.exp(dh)
    return [x - (width - 1) / 2, y - (height - 1) / 2, x + (width - 1) / 2, y + (height - 1) / 2]


def decode_pyfrcnn(anchor, deltas):
    """The box that `deltas` make of `anchor`, as py-faster-rcnn has it."""
    anchor_width, anchor_height = sides(anchor)
    dx, dy, dw, dh = deltas
    x = anchor[0] + 0.5 * anchor_width + dx * anchor_width
    y = anchor[1] + 0.5 * anchor_height + dy * anchor_height
    width, height = anchor_width * math.exp(dw), anchor_height * math.exp(dh)
    return [x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height]


def clamp_scales(deltas):
    """`deltas` with dw and dh no larger than detectron2 lets them be."""
    dx, dy, dw, dh = deltas
    return [dx, dy, min(dw, LARGEST_SCALE_DELTA), min(dh, LARGEST_SCALE_DELTA)]
