"""The anchors against the table of SPEC 3.1, its counts (3.5), and a numpy version of the originals' rule."""

import frcnn_alt
from frcnn_alt.modeling.anchor_generator import FasterRCNNAnchorGenerator
from frcnn_alt.modeling.proposal_generator import inside_image

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import build_anchor_generator
from hypothesis import given
from hypothesis import strategies as st

# SPEC 3.1, inclusive 0-based corners
PAPER_ANCHORS = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]
# SPEC 3.3, the size 64 of COCO
COCO_ANCHORS = [[-38, -16, 53, 31], [-24, -24, 39, 39], [-14, -36, 29, 51]]
ZF_MAP, VGG_MAP = (39, 64), (38, 63)  # of a 600 x 1000 image, SPEC 1.3


def continuous(inclusive):
    return np.array(inclusive, dtype=np.float64) + [0, 0, 1, 1]


def generator(sizes=((128, 256, 512),), aspect_ratios=((0.5, 1.0, 2.0),), strides=(16,), **kwargs):
    return FasterRCNNAnchorGenerator(sizes=sizes, aspect_ratios=aspect_ratios, strides=strides, **kwargs)


def anchors_on(size, **kwargs):
    return generator(**kwargs)([torch.zeros(1, 1, *size)])[0]


def test_the_nine_anchors_of_the_paper():
    boxes = anchors_on((1, 1)).tensor
    assert boxes.dtype == torch.float32
    np.testing.assert_array_equal(boxes.numpy(), continuous(PAPER_ANCHORS))


def test_the_twelve_anchors_of_coco():
    rows = [COCO_ANCHORS[ratio : ratio + 1] + PAPER_ANCHORS[3 * ratio : 3 * ratio + 3] for ratio in range(3)]
    boxes = anchors_on((1, 1), sizes=[[64, 128, 256, 512]]).tensor
    np.testing.assert_array_equal(boxes.numpy(), continuous(sum(rows, [])))


def test_cells_are_row_major_and_the_anchor_is_fastest():
    boxes = anchors_on((3, 5)).tensor.numpy().reshape(3, 5, 9, 4)
    for row in range(3):
        for column in range(5):
            shift = 16 * np.array([column, row, column, row])
            np.testing.assert_array_equal(boxes[row, column], continuous(PAPER_ANCHORS) + shift)


@pytest.mark.parametrize(("size", "total"), [(ZF_MAP, 22464), (VGG_MAP, 21546)])
def test_anchors_inside_a_600_by_1000_image(size, total):
    anchors = anchors_on(size)
    assert len(anchors) == total
    inside = inside_image(anchors, (600, 1000)).reshape(-1, 9)
    assert inside.sum(dim=0).tolist() == [1632, 1040, 238, 1650, 1034, 186, 1539, 832, 0]
    assert inside.sum() == 8151
    assert anchors.inside_box((600, 1000)).sum() == 7790  # detectron2's own, strict at the right and the bottom


def test_anchors_inside_a_600_by_800_image():
    assert inside_image(anchors_on((38, 50)), (600, 800)).sum() == 5944


def originals_rule(sizes, aspect_ratios):
    """Inclusive corners by the steps of the original programs: a 16 x 16 box, its ratios, their scales."""

    def box(width, height, x_centre, y_centre):
        half_width, half_height = (width - 1) / 2, (height - 1) / 2
        return [x_centre - half_width, y_centre - half_height, x_centre + half_width, y_centre + half_height]

    rows = []
    for ratio in aspect_ratios:
        width = np.floor(np.sqrt(256 / ratio) + 0.5)
        height = np.floor(width * ratio + 0.5)
        x1, y1, x2, y2 = box(width, height, 7.5, 7.5)
        for size in sizes:
            scale = size / 16
            rows.append(box((x2 - x1 + 1) * scale, (y2 - y1 + 1) * scale, x1 + (x2 - x1) / 2, y1 + (y2 - y1) / 2))
    return rows


@given(
    sizes=st.lists(st.integers(8, 700), min_size=1, max_size=4),
    aspect_ratios=st.lists(st.sampled_from([0.2, 0.3333, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0]), min_size=1, max_size=4),
)
def test_any_sizes_follow_the_originals_rule(sizes, aspect_ratios):
    boxes = anchors_on((1, 1), sizes=[sizes], aspect_ratios=[aspect_ratios]).tensor.numpy()
    np.testing.assert_allclose(boxes, continuous(originals_rule(sizes, aspect_ratios)), atol=1e-4)


def test_a_size_that_is_no_multiple_of_16_is_not_rounded():
    x1, y1, x2, y2 = anchors_on((1, 1), sizes=[[100]], aspect_ratios=[[0.5]]).tensor[0].tolist()
    assert (x2 - x1, y2 - y1) == (143.75, 75.0)


def test_levels_of_a_pyramid_have_the_same_shapes_around_their_own_centres():
    strides = (4, 8, 32)
    levels = generator(sizes=[[32], [64], [256]], strides=strides)([torch.zeros(1, 1, 2, 3)] * 3)
    for boxes, stride, scale in zip(levels, strides, (2, 4, 16)):
        boxes = boxes.tensor.reshape(2, 3, 3, 4)
        sides = boxes[..., 2:] - boxes[..., :2]
        assert (sides == scale * torch.tensor([[23, 12], [16, 16], [11, 22]])).all()
        centres = (boxes[..., 2:] + boxes[..., :2]) / 2
        assert centres[1, 2].tolist() == [[2.5 * stride, 1.5 * stride]] * 3


def test_built_from_the_stock_keys():
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "FasterRCNNAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[128, 256, 512]]
    built = build_anchor_generator(cfg, [ShapeSpec(channels=8, stride=16)])
    assert built.num_anchors == [9]
    np.testing.assert_array_equal(built([torch.zeros(1, 8, 1, 1)])[0].tensor.numpy(), continuous(PAPER_ANCHORS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offset": 0.5}, "OFFSET is 0.5"),
        ({"sizes": [[128, 0]]}, "SIZES has 0"),
        ({"aspect_ratios": [[-1.0]]}, "ASPECT_RATIOS has -1.0"),
        ({"aspect_ratios": [[0.0001]]}, "rounds to 1600 x 0 pixels"),
    ],
)
def test_what_gives_no_anchor_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        generator(**arguments)
