"""Which anchors of an image are positive, negative or ignored, one after the other (SPEC 4.2).

1. Anchors that are not wholly inside the image are ignored and take no further part.
2. An anchor whose largest IoU with any object is below 0.3 is negative.
3. All anchors that share the largest IoU that an object has with any anchor are positive, however small it is, as long
   as they overlap the object at all. (Here the package departs from the two programs on purpose: they let 0 tie.)
4. An anchor that has an IoU of at least 0.7 with an object is positive.
5. Positive wins over negative. What is neither is ignored.
6. The target of a positive anchor is the object that it overlaps most, of equals the first, also where another object
   made it positive.

Boxes are inclusive 0-based pixels, x2 - x1 + 1 wide.
"""

from .anchors import is_inside
from .overlap import overlap_of_pixels

IGNORED, NEGATIVE, POSITIVE = -1, 0, 1


def overlaps_inside(anchors, objects, height, width):
    """IoU with each object, by the index of each anchor inside the image."""
    return {
        index: [overlap_of_pixels(anchor, one) for one in objects]
        for index, anchor in enumerate(anchors)
        if is_inside(anchor, height, width)
    }


def label_anchors(anchors, objects, height, width, negative_below=0.3, positive_from=0.7):
    """(label of each anchor, index of the object of each positive anchor by the anchor's index)."""
    table = overlaps_inside(anchors, objects, height, width)
    labels = [IGNORED] * len(anchors)
    for index, overlaps in table.items():
        if max(overlaps, default=0.0) < negative_below:
            labels[index] = NEGATIVE
    for number in range(len(objects)):
        highest = max((overlaps[number] for overlaps in table.values()), default=0.0)
        for index, overlaps in table.items():
            if highest > 0 and overlaps[number] == highest:
                labels[index] = POSITIVE
    for index, overlaps in table.items():
        if max(overlaps, default=0.0) >= positive_from:
            labels[index] = POSITIVE
    objects_of = {index: table[index].index(max(table[index])) for index in table if labels[index] == POSITIVE}
    return labels, objects_of
