"""The anchors of the original programs and where they lie, in inclusive 0-based pixels (SPEC 3.1, 3.3, 3.5).

A square of 16 x 16 pixels about 7.5 is stretched to each aspect ratio, with whole sides rounded for its area; each
result is enlarged by each scale about the same centre. Aspect ratio outer, scale inner. Every cell of the map has the
same boxes, moved by the stride; cells row by row, the boxes of a cell together.

A box is (x1, y1, x2, y2), its first and last pixel: it is x2 - x1 + 1 wide.
"""

import math

BASE_SIZE = 16


def about(centre_x, centre_y, width, height):
    """The box of these sides about a centre."""
    return [
        centre_x - (width - 1) / 2,
        centre_y - (height - 1) / 2,
        centre_x + (width - 1) / 2,
        centre_y + (height - 1) / 2,
    ]


def sides_and_centre(box):
    """(width, height, x of the centre, y of the centre)."""
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    return width, height, box[0] + (width - 1) / 2, box[1] + (height - 1) / 2


def cell_anchors(scales=(8, 16, 32), aspect_ratios=(0.5, 1.0, 2.0), stride=16):
    """The boxes of the cell in the first row and column, as lists of four numbers.

    Args:
        scales: side of the square of the same area, in units of 16 pixels.
        aspect_ratios: height / width.
        stride: pixels between cells; the first centre is in the middle of the first `stride` pixels.
    """
    square = about((stride - 1) / 2, (stride - 1) / 2, BASE_SIZE, BASE_SIZE)
    anchors = []
    for aspect_ratio in aspect_ratios:
        width, height, centre_x, centre_y = sides_and_centre(square)
        # a half is rounded up
        new_width = math.floor(math.sqrt(width * height / aspect_ratio) + 0.5)
        new_height = math.floor(new_width * aspect_ratio + 0.5)
        stretched = about(centre_x, centre_y, new_width, new_height)
        for scale in scales:
            width, height, centre_x, centre_y = sides_and_centre(stretched)
            anchors.append(about(centre_x, centre_y, width * scale, height * scale))
    return anchors


def anchors_of_map(rows, columns, anchors, stride=16):
    """The anchors of all cells of a feature map, from those of its first cell."""
    boxes = []
    for row in range(rows):
        for column in range(columns):
            for x1, y1, x2, y2 in anchors:
                right, down = stride * column, stride * row
                boxes.append([x1 + right, y1 + down, x2 + right, y2 + down])
    return boxes


def is_inside(box, height, width):
    """Whether no pixel of the box is outside an image."""
    x1, y1, x2, y2 = box
    return x1 >= 0 and y1 >= 0 and x2 <= width - 1 and y2 <= height - 1


def inside_by_type(boxes, num_types, height, width):
    """How many boxes of each anchor of a cell are inside an image, as a list."""
    counts = [0] * num_types
    for index, box in enumerate(boxes):
        counts[index % num_types] += is_inside(box, height, width)
    return counts


def same_centre_overlap(first, second):
    """IoU of two boxes about one centre, from their (width, height)."""
    shared = min(first[0], second[0]) * min(first[1], second[1])
    return shared / (first[0] * first[1] + second[0] * second[1] - shared)
