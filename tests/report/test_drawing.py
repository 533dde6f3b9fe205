"""Boxes land where they belong, dashed ones have gaps, labels keep off each other."""

from frcnn_alt.report.drawing import LabelledBox, _font, _overlap, _place_label, class_color, draw_boxes, side_by_side

import numpy as np
import pytest
from PIL import Image, ImageDraw

RED = (255, 0, 0)


def red_pixels(image):
    pixels = np.asarray(image)
    return (pixels[..., 0] == 255) & (pixels[..., 1:].max(axis=2) == 0)


@pytest.mark.parametrize("size, long_side", [((100, 50), 400), ((2000, 1000), 400)])
def test_box_is_scaled_with_the_image(size, long_side):
    image = Image.new("RGB", size, (128, 128, 128))
    box = [0.25 * size[0], 0.2 * size[1], 0.75 * size[0], 0.8 * size[1]]
    drawn = draw_boxes(image, [LabelledBox(box, "", RED)], long_side=long_side)
    assert drawn.size == (400, 200)
    rows, columns = np.where(red_pixels(drawn))
    middle = [(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2]
    assert middle == pytest.approx([200, 100], abs=1)
    assert [columns.min(), columns.max()] == pytest.approx([100, 300], abs=2)
    assert [rows.min(), rows.max()] == pytest.approx([40, 160], abs=2)
    assert image.size == size and not red_pixels(image).any(), "the image given must stay as it is"


def test_dashed_box_has_corners_and_gaps():
    box = LabelledBox([20, 20, 180, 180], "", RED, dashed=True)
    red = red_pixels(draw_boxes(Image.new("RGB", (200, 200)), [box], long_side=200))
    top = red[20]
    assert top[20] and top[180]
    changes = np.count_nonzero(np.diff(top[18:183].astype(int)) == -1)
    assert changes >= 3, "gaps along the side"
    solid = red_pixels(draw_boxes(Image.new("RGB", (200, 200)), [LabelledBox(box.box, "", RED)], long_side=200))
    assert solid[20, 20:181].all() and (solid & ~red).any()


def test_box_at_the_border_is_fully_visible():
    drawn = draw_boxes(Image.new("RGB", (100, 100)), [LabelledBox([0, 0, 100, 100], "", RED)], long_side=300)
    red = red_pixels(drawn)
    for side in (red[:6, 50], red[-6:, 50], red[50, :6], red[50, -6:]):
        assert side.any()


def test_labels_of_boxes_in_one_place_do_not_cover_each_other():
    draw = ImageDraw.Draw(Image.new("RGB", (400, 300)))
    taken = []
    for name in ("circle", "square", "triangle"):
        place = _place_label(draw, name, _font(14), (150, 100, 260, 200), (400, 300), taken)
        assert place[0] >= 0 and place[1] >= 0 and place[2] <= 400 and place[3] <= 300
        assert not any(_overlap(place, other) for other in taken)
        taken.append(place)


def test_label_stays_inside_the_image():
    draw = ImageDraw.Draw(Image.new("RGB", (400, 300)))
    place = _place_label(draw, "a rather long name", _font(14), (390, 0, 399, 20), (400, 300), [])
    assert place[2] <= 400 and place[1] >= 0


def test_degenerate_images_and_boxes_are_drawn():
    boxes = [LabelledBox([5, 0, 5, 0], "point", RED), LabelledBox([-50, -50, 900, 900], "huge", RED)]
    assert draw_boxes(Image.new("L", (700, 1)), boxes, long_side=300).size == (300, 1)


def test_class_colors_differ_for_voc_s_first_classes_and_never_end():
    assert len({class_color(index) for index in range(14)}) == 14
    assert all(len(class_color(index)) == 3 for index in range(80))


def test_side_by_side_has_every_image_unchanged():
    left, right = (Image.new("RGB", (90, 60), color) for color in ("blue", "green"))
    both = side_by_side([left, right], ["one", "two"])
    head = both.height - 60
    assert both.crop((0, head, 90, both.height)).tobytes() == left.tobytes()
    assert both.crop((both.width - 90, head, both.width, both.height)).tobytes() == right.tobytes()
