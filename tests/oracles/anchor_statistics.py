"""Mean and deviation of the region proposal network's box targets (SPEC 4.4).

One row of four numbers over all positive anchors of all training images, none left out by sampling. The mirror image of
every image is a training image too, with anchors of its own.
"""

import numpy as np

from .anchor_labels import label_anchors
from .anchors import anchors_of_map
from .box_coding import encode


def mirrored(boxes, width):
    """The boxes, inclusive pixels, in the mirror image of an image of this width."""
    return [[width - 1 - x2, y1, width - 1 - x1, y2] for x1, y1, x2, y2 in boxes]


def targets_of_image(objects, height, width, anchors, stride=16):
    """Targets of the positive anchors of an image, from the anchors of its first cell."""
    rows, columns = -(-height // stride), -(-width // stride)
    boxes = anchors_of_map(rows, columns, anchors, stride)
    _, objects_of = label_anchors(boxes, objects, height, width)
    return [encode(boxes[index], objects[number]) for index, number in objects_of.items()]


def anchor_statistics(images, anchors):
    """Mean and population deviation, four numbers each, over (objects, height, width) of images."""
    targets = []
    for objects, height, width in images:
        targets += targets_of_image(objects, height, width, anchors)
        targets += targets_of_image(mirrored(objects, width), height, width, anchors)
    return np.mean(targets, axis=0), np.std(targets, axis=0)
