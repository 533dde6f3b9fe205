"""Labels against a slow version of the rules of SPEC 4.2, and each rule by itself."""

import frcnn_alt  # noqa: F401, I001
import numpy as np
import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import assume, given
from hypothesis import strategies as st

from frcnn_alt.modeling.anchor_generator import FasterRCNNAnchorGenerator
from frcnn_alt.modeling.proposal_generator import inside_image, match_anchors
from oracles.anchor_labels import label_anchors, overlaps_inside
from oracles.anchors import is_inside
from small_rpn import inclusive

MATCHER = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)


def grid(height, width, sizes=(32, 64)):
    generator = FasterRCNNAnchorGenerator(sizes=[sizes], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[16])
    return generator([torch.zeros(1, 1, -(-height // 16), -(-width // 16))])[0]


def match(anchors, gt, image_size, boundary_thresh=0.0):
    gt = Boxes(torch.tensor(gt, dtype=torch.float32).reshape(-1, 4))
    labels, matched = match_anchors(anchors, gt, image_size, MATCHER, boundary_thresh)
    return labels.numpy(), matched.numpy()


def assert_same_as_the_rule(anchors, gt, image_size):
    labels, matched = match(anchors, gt, image_size)
    expected_labels, objects_of = label_anchors(inclusive(anchors.tensor), inclusive(gt), *image_size)
    np.testing.assert_array_equal(labels, expected_labels)
    for index, number in objects_of.items():
        np.testing.assert_array_equal(matched[index], np.float32(gt[number]))
    return labels


def are_too_close_for_single_precision(anchors, gt, image_size):
    """Whether a comparison that the rule makes hangs on less than detectron2's float32 IoU resolves."""
    table = overlaps_inside(inclusive(anchors.tensor), inclusive(gt), *image_size)
    if not table or not gt:
        return False
    overlaps = np.array(list(table.values()))
    gaps = np.concatenate([(values.max() - values) for values in (*overlaps, *overlaps.T)])
    gaps = np.concatenate([gaps, *(np.abs(overlaps.max(axis=1) - threshold) for threshold in (0.3, 0.7))])
    return ((gaps > 0) & (gaps < 2e-7)).any()  # gaps of 0 are ties, and exact in both


def boxes_in(height, width):
    """Up to five boxes of an image, in quarters of a pixel: flush ones, one-pixel ones and equal ones among them."""

    def side(length):
        corners = st.integers(0, 4 * length)
        return st.one_of(
            st.tuples(corners, corners),
            st.tuples(st.just(0), corners),
            st.tuples(corners, st.just(4 * length)),
            st.integers(0, length - 1).map(lambda first: (4 * first, 4 * first + 4)),
        ).filter(lambda ends: ends[0] != ends[1])

    box = st.tuples(side(width), side(height)).map(
        lambda b: [min(b[0]) / 4, min(b[1]) / 4, max(b[0]) / 4, max(b[1]) / 4]
    )
    return st.lists(box, max_size=5).flatmap(lambda boxes: st.sampled_from([boxes, boxes + boxes[:1]]))


IMAGES_WITH_BOXES = st.tuples(st.integers(12, 100), st.integers(12, 120)).flatmap(
    lambda size: st.tuples(st.just(size), boxes_in(*size))
)


@given(image=IMAGES_WITH_BOXES, sizes=st.sampled_from([(16, 32), (32, 64), (48,)]))
def test_any_boxes_follow_the_rule(image, sizes):
    image_size, gt = image
    anchors = grid(*image_size, sizes)
    assume(not are_too_close_for_single_precision(anchors, gt, image_size))
    assert_same_as_the_rule(anchors, gt, image_size)


CORNERS = {
    "at x = 0": [[0, 200, 150, 330]],
    "in the leftmost pixels": [[0, 0, 7, 600]],
    "in the first corner": [[0, 0, 8, 8]],
    "flush right and bottom": [[820, 430, 1000, 600]],
    "one pixel": [[500, 300, 501, 301]],
    "one pixel in the first corner": [[0, 0, 1, 1]],
    "one pixel in each corner": [[0, 0, 1, 1], [999, 0, 1000, 1], [0, 599, 1, 600], [999, 599, 1000, 600]],
    "the whole image": [[0, 0, 1000, 600]],
    "an anchor": [[24, 24, 152, 152]],
    "the same twice, and one inside": [[100, 100, 300, 260], [100, 100, 300, 260], [150, 120, 280, 240]],
    "none": [],
}


@pytest.mark.parametrize("corner", CORNERS)
def test_the_papers_anchors_on_a_600_by_1000_image(corner):
    anchors = grid(600, 1000, sizes=(128, 256, 512))
    labels = assert_same_as_the_rule(anchors, CORNERS[corner], (600, 1000))
    assert (labels != -1).sum() <= 8151
    # of the anchors inside, those that begin at x = 0 begin at y = 8 or below, and the others right of x = 8
    assert (labels == 1).any() == (corner not in ("in the first corner", "one pixel in the first corner", "none"))


def test_all_anchors_tied_at_the_maximum_are_positive():
    # 2 x 2 pixels around the corner of four cells: every anchor that holds them ties within its shape
    labels = assert_same_as_the_rule(grid(96, 128), [[63, 47, 65, 49]], (96, 128))
    ious = pairwise_iou(Boxes(torch.tensor([[63.0, 47, 65, 49]])), grid(96, 128))[0]
    assert (labels == 1).sum() > 1
    assert ious[torch.from_numpy(labels == 1)].unique().numel() == 1
    assert ious[torch.from_numpy(labels == 1)].max() < 0.3  # positive wins over negative


def test_the_best_anchor_is_positive_also_where_another_reaches_0_7():
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]]))
    gt = [[0, 0, 10, 8], [45, 40, 55, 50]]  # IoU 0.8 and 1/3
    labels, matched = match(anchors, gt, (100, 100))
    assert labels.tolist() == [1, 1]
    np.testing.assert_array_equal(matched, np.float32(gt))


def test_a_box_that_no_inside_anchor_overlaps_makes_nothing_positive():
    # no anchor of size 128 that is inside begins in the leftmost 8 pixels
    image_size, gt = (256, 320), [[0, 0, 8, 256]]
    anchors = grid(*image_size, sizes=(128,))
    inside = inside_image(anchors, image_size)
    assert pairwise_iou(Boxes(torch.tensor(gt).float()), anchors[inside]).max() == 0
    labels, _ = match(anchors, gt, image_size)
    assert (labels[inside.numpy()] == 0).all() and inside.any()
    assert (labels[~inside.numpy()] == -1).all()
    # and it takes nothing from another object of the image
    labels = assert_same_as_the_rule(anchors, [*gt, [90, 70, 200, 180]], image_size)
    assert (labels == 1).any()


def test_an_object_whose_best_anchor_crosses_the_boundary_gets_the_best_inside_one():
    anchors, gt, image_size = grid(96, 128), [[0, 0, 30, 30]], (96, 128)
    gt_boxes = Boxes(torch.tensor(gt).float())
    inside = inside_image(anchors, image_size)
    iou = pairwise_iou(gt_boxes, anchors)[0]
    assert not inside[iou.argmax()]  # matching first and filtering then, as stock does, leaves it without a positive
    _, stock = MATCHER(iou[None])
    assert not (stock[inside] == 1).any()

    labels = torch.from_numpy(match(anchors, gt, image_size)[0])
    assert (labels == 1).sum() >= 1
    assert (iou[labels == 1] == iou[inside].max()).all()


def test_anchors_flush_with_every_edge_are_inside():
    boxes = Boxes(
        torch.tensor([[0, 0, 10, 10], [90, 70, 100, 80], [90, 70, 100.5, 80], [90, 70, 100, 80.5], [-1, 0, 5, 5]])
    )
    assert inside_image(boxes, (80, 100)).tolist() == [True, True, False, False, False]
    assert [is_inside(box, 80, 100) for box in inclusive(boxes.tensor)] == [True, True, False, False, False]
    assert inside_image(boxes, (80, 100), tolerance=1).tolist() == [True] * 5


def test_a_positive_anchor_keeps_its_own_best_box_also_when_another_made_it_positive():
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10], [30, 30, 40, 40]]))
    # the second box has the first anchor as its best, which itself overlaps the first box more
    gt = [[0, 0, 10, 6.5], [8, 8, 20, 20]]
    labels = assert_same_as_the_rule(anchors, gt, (100, 100))
    assert labels.tolist() == [1, 0]
    np.testing.assert_array_equal(match(anchors, gt, (100, 100))[1][0], np.float32(gt[0]))
    np.testing.assert_array_equal(match(anchors, gt[1:], (100, 100))[1][0], np.float32(gt[1]))


@pytest.mark.parametrize("first", [0, 1])
def test_of_objects_with_equal_iou_the_first_is_the_target(first):
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10]]))
    gt = [[[0, 0, 10, 8], [0, 2, 10, 10]][i] for i in (first, 1 - first)]
    assert_same_as_the_rule(anchors, gt, (50, 50))
    np.testing.assert_array_equal(match(anchors, gt, (50, 50))[1][0], np.float32(gt[0]))


@pytest.mark.parametrize(("right", "label"), [(7.0, 1), (6.9, -1), (3.0, -1), (2.9, 0)])
def test_thresholds_include_0_7_and_exclude_0_3(right, label):
    # the second anchor is the best of the object, so that the first is labelled by its own IoU = right / 10
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10], [0, 0, right, 10]]))
    labels, _ = match(anchors, [[0, 0, right, 10]], (50, 50))
    assert labels.tolist() == [label, 1]


def test_an_image_without_objects_has_negatives_only():
    anchors = grid(96, 128)
    labels, matched = match(anchors, [], (96, 128))
    inside = inside_image(anchors, (96, 128)).numpy()
    assert (labels == np.where(inside, 0, -1)).all()
    assert matched.shape == (len(anchors), 4)


@pytest.mark.parametrize("gt", [[], [[2, 2, 20, 20]]])
def test_an_image_smaller_than_every_anchor_has_no_label(gt):
    labels, _ = match(grid(24, 24, sizes=(64,)), gt, (24, 24))
    assert (labels == -1).all()


def test_a_negative_threshold_keeps_anchors_that_cross_the_boundary():
    anchors = grid(96, 128)
    labels, _ = match(anchors, [[0, 0, 30, 30]], (96, 128), boundary_thresh=-1)
    _, stock = MATCHER(pairwise_iou(Boxes(torch.tensor([[0.0, 0, 30, 30]])), anchors))
    np.testing.assert_array_equal(labels, stock.numpy())


def test_the_padding_of_a_batch_is_outside():
    # the map covers 96 x 256, this image only its left half
    anchors = grid(96, 256)
    labels = assert_same_as_the_rule(anchors, [[20, 20, 70, 70]], (96, 128))
    assert (labels[anchors.tensor[:, 2].numpy() > 128] == -1).all()
    assert (labels == 1).any()
