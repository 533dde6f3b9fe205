"""The anchors against the table of SPEC 3.1, its counts (3.5), and a slow version of the originals' rule."""

import frcnn_alt
from frcnn_alt.modeling.anchor_generator import FasterRCNNAnchorGenerator
from frcnn_alt.modeling.proposal_generator import inside_image

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator, build_anchor_generator
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import example, given
from hypothesis import strategies as st
from oracles.anchors import anchors_of_map, cell_anchors, inside_by_type, same_centre_overlap

# SPEC 3.1: sides, inclusive 0-based corners and continuous corners of each row
PAPER_SIDES = [(184, 96), (368, 192), (736, 384), (128, 128), (256, 256), (512, 512), (88, 176), (176, 352), (352, 704)]
PAPER_AREAS = [17664, 70656, 282624, 16384, 65536, 262144, 15488, 61952, 247808]
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
PAPER_ANCHORS_CONTINUOUS = [
    [-84, -40, 100, 56],
    [-176, -88, 192, 104],
    [-360, -184, 376, 200],
    [-56, -56, 72, 72],
    [-120, -120, 136, 136],
    [-248, -248, 264, 264],
    [-36, -80, 52, 96],
    [-80, -168, 96, 184],
    [-168, -344, 184, 360],
]
# SPEC 3.4: what these anchors become on average, width x height
LEARNED_SIDES = [
    (188, 111),
    (416, 229),
    (768, 437),
    (113, 114),
    (261, 284),
    (499, 501),
    (70, 92),
    (174, 332),
    (355, 715),
]
# SPEC 3.3, the size 64 of COCO
COCO_SIDES = [(92, 48), (64, 64), (44, 88)]
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
    np.testing.assert_array_equal(boxes.numpy(), PAPER_ANCHORS_CONTINUOUS)
    np.testing.assert_array_equal(boxes.numpy(), continuous(cell_anchors()))
    np.testing.assert_array_equal(boxes[:, 2:] - boxes[:, :2], PAPER_SIDES)
    np.testing.assert_array_equal(Boxes(boxes).area(), PAPER_AREAS)
    assert ((boxes[:, 2:] + boxes[:, :2]) / 2 == 8).all()


def test_the_twelve_anchors_of_coco():
    rows = [COCO_ANCHORS[ratio : ratio + 1] + PAPER_ANCHORS[3 * ratio : 3 * ratio + 3] for ratio in range(3)]
    boxes = anchors_on((1, 1), sizes=[[64, 128, 256, 512]]).tensor
    np.testing.assert_array_equal(boxes.numpy(), continuous(sum(rows, [])))
    np.testing.assert_array_equal(boxes.numpy(), continuous(cell_anchors((4, 8, 16, 32))))
    np.testing.assert_array_equal((boxes[:, 2:] - boxes[:, :2])[::4], COCO_SIDES)


def test_learned_proposals_are_nearest_to_the_anchor_of_their_name():
    """SPEC 3.4 names its columns as we name rows: the paper's 2:1 is wide, detectron2's aspect ratio 0.5."""
    boxes = anchors_on((1, 1)).tensor.numpy()
    sides = [(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]
    nearest = [int(np.argmax([same_centre_overlap(learned, anchor) for anchor in sides])) for learned in LEARNED_SIDES]
    assert nearest == list(range(9))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), ZF_MAP, VGG_MAP])
def test_cells_are_row_major_and_the_anchor_is_fastest(size):
    boxes = anchors_on(size).tensor.numpy()
    np.testing.assert_array_equal(boxes, continuous(anchors_of_map(*size, PAPER_ANCHORS)))
    row, column, anchor = size[0] - 1, size[1] - 1, 4
    shift = 16 * np.array([column, row, column, row])
    np.testing.assert_array_equal(
        boxes.reshape(*size, 9, 4)[row, column, anchor], continuous(PAPER_ANCHORS[anchor]) + shift
    )


@pytest.mark.parametrize(("size", "total"), [(ZF_MAP, 22464), (VGG_MAP, 21546)])
def test_anchors_inside_a_600_by_1000_image(size, total):
    anchors = anchors_on(size)
    assert len(anchors) == total
    inside = inside_image(anchors, (600, 1000)).reshape(-1, 9)
    assert inside.sum(dim=0).tolist() == [1632, 1040, 238, 1650, 1034, 186, 1539, 832, 0]
    assert inside.sum() == 8151
    assert inside.sum(dim=0).tolist() == inside_by_type(anchors_of_map(*size, cell_anchors()), 9, 600, 1000)
    assert anchors.inside_box((600, 1000)).sum() == 7790  # detectron2's own, strict at the right and the bottom


@pytest.mark.parametrize(("size", "image_size"), [((38, 50), (600, 800)), ((39, 51), (600, 800))])
def test_anchors_inside_a_600_by_800_image(size, image_size):
    inside = inside_image(anchors_on(size), image_size)
    assert inside.sum() == sum(inside_by_type(anchors_of_map(*size, cell_anchors()), 9, *image_size)) == 5944


@pytest.mark.parametrize(("image_size", "never"), [((600, 1000), (352, 704)), ((1000, 600), (736, 384))])
def test_the_largest_anchor_of_the_other_orientation_never_fits(image_size, never):
    size = tuple(-(-side // 16) for side in image_size)
    counts = inside_image(anchors_on(size), image_size).reshape(-1, 9).sum(dim=0)
    assert [PAPER_SIDES[i] for i in range(9) if counts[i] == 0] == [never]


def test_stock_anchors_have_the_centres_but_not_the_sides():
    """SPEC 3.2: detectron2's own generator with OFFSET 0.5."""
    stock = DefaultAnchorGenerator(sizes=[[128, 256, 512]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[16], offset=0.5)
    features = [torch.zeros(1, 1, 2, 3)]
    (boxes,) = stock(features)
    # its order is size outer, aspect ratio inner
    boxes = Boxes(boxes.tensor.reshape(6, 3, 3, 4).transpose(1, 2).reshape(-1, 4))
    (ours,) = generator()(features)
    torch.testing.assert_close(boxes.get_centers(), ours.get_centers())
    ious = pairwise_iou(boxes, ours).diagonal().reshape(6, 3, 3)
    for ratio, iou in enumerate((0.928, 1.0, 0.945)):
        torch.testing.assert_close(ious[:, ratio], torch.full((6, 3), iou), atol=5e-4, rtol=0)
    np.testing.assert_allclose((boxes.tensor[0, 2:] - boxes.tensor[0, :2]), [181.02, 90.51], atol=5e-3)


@given(
    sizes=st.lists(st.integers(8, 700), min_size=1, max_size=4),
    aspect_ratios=st.lists(
        st.sampled_from([0.2, 0.3333, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 5.5]), min_size=1, max_size=4
    ),
)
@example(sizes=[16], aspect_ratios=[5.5])
def test_any_sizes_follow_the_originals_rule(sizes, aspect_ratios):
    boxes = anchors_on((1, 1), sizes=[sizes], aspect_ratios=[aspect_ratios]).tensor.numpy()
    expected = cell_anchors([size / 16 for size in sizes], aspect_ratios)
    np.testing.assert_allclose(boxes, continuous(expected), atol=1e-4)


def test_a_half_is_rounded_up_and_not_to_the_even_side():
    """Of the paper's ratios 0.5 alone gives a half, 11.5, which is 12 either way; 5.5 gives 7 x 38.5."""
    x1, y1, x2, y2 = anchors_on((1, 1), sizes=[[16]], aspect_ratios=[[5.5]]).tensor[0].tolist()
    assert (x2 - x1, y2 - y1) == (7, 39)


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
