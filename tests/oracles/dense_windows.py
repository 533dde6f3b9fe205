"""All sliding windows of an image, and the size of an image pyramid that each is pooled from (SPEC 8.8, 10.3).

A window of every size and aspect ratio lies about the middle of each 16 x 16 pixels, the last ones of a row or column
being cut off by the border. What reaches beyond the image is cut off; what is left has to be large enough.

A pyramid shows the image at several sizes. A window belongs to that at which its area is nearest to 224 x 224, the
first of equals.

Boxes have continuous corners: x2 and y2 are where they end.
"""

from .anchors import anchors_of_map, cell_anchors
from .image_size import resized


def dense_windows(height, width, scales=(8, 16, 32), aspect_ratios=(0.5, 1.0, 2.0), stride=16, smallest=(0, 0)):
    """The windows as lists of four numbers: cells row by row, the windows of a cell.

    Args:
        scales: side of the square of the same area, in units of 16 pixels.
        smallest: shortest sides that are kept, (vertical, horizontal).
    """
    rows, columns = -(-height // stride), -(-width // stride)
    windows = []
    for x1, y1, x2, y2 in anchors_of_map(rows, columns, cell_anchors(scales, aspect_ratios, stride), stride):
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2 + 1, width), min(y2 + 1, height)
        if x2 > x1 and y2 > y1 and y2 - y1 >= smallest[0] and x2 - x1 >= smallest[1]:
            windows.append([x1, y1, x2, y2])
    return windows


def windows_of_frame(original, shown, frame, scales, aspect_ratios=(0.5, 1.0, 2.0)):
    """The windows of an original of (height, width) in a frame (shorter side, longest), in an image of `shown`."""
    height, width = resized(*original, *frame)
    y, x = shown[0] / height, shown[1] / width
    return [[x1 * x, y1 * y, x2 * x, y2 * y] for x1, y1, x2, y2 in dense_windows(height, width, scales, aspect_ratios)]


def box_at_size(box, shown, size):
    """The corners of a box of an image that is shown as (height, width), where the image has another size."""
    y, x = size[0] / shown[0], size[1] / shown[1]
    return [box[0] * x, box[1] * y, box[2] * x, box[3] * y]


def nearest_size(box, shown, sizes, side=224):
    """Number of the size, of several (height, width), at which a box of the image as shown is nearest to a square."""
    best, least = None, None
    for number, size in enumerate(sizes):
        x1, y1, x2, y2 = box_at_size(box, shown, size)
        difference = abs((x2 - x1) * (y2 - y1) - side * side)
        if least is None or difference < least:
            best, least = number, difference
    return best
