"""Horizontal flips in the inclusive 0-based pixels of the originals (SPEC 2 "augmentation").

A flipped image shows pixel W - 1 - x where pixel x was. A box's last pixel becomes its first: x1' = W - 1 - x2.
"""


def flip_pixels(rows):
    """The rows of an image, each a list of pixels, flipped."""
    return [[row[len(row) - 1 - x] for x in range(len(row))] for row in rows]


def flip_box(box, width):
    """The box (x1, y1, x2, y2) in the flipped image, which is `width` pixels wide."""
    x1, y1, x2, y2 = box
    return [width - 1 - x2, y1, width - 1 - x1, y2]
