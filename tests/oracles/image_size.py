"""How an image is resized before it enters the network (SPEC 2 "scale", "rounding", "interpolation", "order").

Size, in exact fractions: the shorter side becomes 600; if the longer one, rounded, would then exceed 1000, the longer
side becomes 1000 instead. Both sides are rounded to whole pixels. The programs differ only where a side falls exactly
between two pixels: MATLAB rounds such a half up, OpenCV to the even neighbour.

Pixels, as OpenCV's bilinear resizing of a float image without antialiasing: pixel i of the new image lies at
(i + 0.5) * old / new - 0.5 in the old one and is a mean of the two pixels about that place, weighted by nearness, in
both directions; beyond the border the border pixel is repeated. A shrunk image is sampled so too: the pixels between
two places are passed over, where an antialiasing resize would average them.
"""

from fractions import Fraction

import numpy as np


def exact_size(height, width, shorter_side=600, longer_side=1000):
    """(height, width) after resizing as fractions, before they are rounded to whole pixels."""
    scale = Fraction(shorter_side, min(height, width))
    if half_up(scale * max(height, width)) > longer_side:
        scale = Fraction(longer_side, max(height, width))
    return scale * height, scale * width


def half_up(side):
    """A non-negative fraction rounded to the nearest whole number, a half up."""
    return (2 * side.numerator + side.denominator) // (2 * side.denominator)


def is_half(side):
    """Whether a fraction lies exactly between two whole numbers."""
    return side.denominator == 2


def resized(height, width, shorter_side=600, longer_side=1000):
    """(height, width) after resizing, in whole pixels."""
    exact = exact_size(height, width, shorter_side, longer_side)
    return half_up(exact[0]), half_up(exact[1])


def neighbours(old, new):
    """For each of `new` places along a side of `old` pixels: index before, index after, weight of the one after."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = np.minimum(place.astype(int), old - 1)
    after = np.minimum(before + 1, old - 1)
    return before, after, place - before


def bilinear(image, height, width):
    """Resize a (H, W, C) array of float64 to (height, width, C)."""
    before, after, weight = neighbours(image.shape[0], height)
    weight = weight[:, None, None]
    rows = (1 - weight) * image[before] + weight * image[after]
    before, after, weight = neighbours(image.shape[1], width)
    weight = weight[None, :, None]
    return (1 - weight) * rows[:, before] + weight * rows[:, after]
