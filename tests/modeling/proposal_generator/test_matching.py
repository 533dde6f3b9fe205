"""Labels against a slow numpy version of the rules of SPEC 4.2, and each rule by itself."""

import frcnn_alt  # noqa: F401, I001
import numpy as np
import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import given
from hypothesis import strategies as st

from frcnn_alt.modeling.anchor_generator import FasterRCNNAnchorGenerator
from frcnn_alt.modeling.proposal_generator import inside_image, match_anchors

MATCHER = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)


def grid(height, width, sizes=(32, 64)):
    generator = FasterRCNNAnchorGenerator(sizes=[sizes], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[16])
    return generator([torch.zeros(1, 1, -(-height // 16), -(-width // 16))])[0]


def match(anchors, gt, image_size, boundary_thresh=0.0):
    gt = Boxes(torch.tensor(gt, dtype=torch.float32).reshape(-1, 4))
    labels, matched = match_anchors(anchors, gt, image_size, MATCHER, boundary_thresh)
    return labels.numpy(), matched.numpy()


def numpy_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return np.float32(0)
    intersection = np.float32(width * height)
    area = np.float32((a[2] - a[0]) * (a[3] - a[1])) + np.float32((b[2] - b[0]) * (b[3] - b[1]))
    return intersection / (area - intersection)


def originals_rule(anchors, gt, image_size):
    """One anchor after the other, as SPEC 4.2 lists the rules."""
    height, width = image_size
    inside = [i for i, a in enumerate(anchors) if a[0] >= 0 and a[1] >= 0 and a[2] <= width and a[3] <= height]
    iou = {(i, g): numpy_iou(anchors[i], box) for i in inside for g, box in enumerate(gt)}
    labels, matched = np.full(len(anchors), -1), {}
    for i in inside:
        best = max((iou[i, g] for g in range(len(gt))), default=np.float32(0))
        if best < np.float32(0.3):
            labels[i] = 0
    for g in range(len(gt)):
        best = max((iou[i, g] for i in inside), default=np.float32(0))
        for i in inside:
            if best > 0 and iou[i, g] == best:
                labels[i] = 1
    for i in inside:
        if any(iou[i, g] >= np.float32(0.7) for g in range(len(gt))):
            labels[i] = 1
        if labels[i] == 1:
            matched[i] = gt[int(np.argmax([iou[i, g] for g in range(len(gt))]))]
    return labels, matched


def assert_same_as_the_rule(anchors, gt, image_size):
    labels, matched = match(anchors, gt, image_size)
    expected_labels, expected_matched = originals_rule(anchors.tensor.numpy(), gt, image_size)
    np.testing.assert_array_equal(labels, expected_labels)
    for i, box in expected_matched.items():
        np.testing.assert_array_equal(matched[i], box)
    return labels


def boxes_in(height, width):
    x, y = (
        st.tuples(st.integers(0, width), st.integers(0, width)),
        st.tuples(st.integers(0, height), st.integers(0, height)),
    )
    box = st.tuples(x, y).map(lambda b: [min(b[0]), min(b[1]), max(b[0]) + 1, max(b[1]) + 1])
    return st.lists(box.map(lambda b: [b[0], b[1], min(b[2], width), min(b[3], height)]), max_size=5)


@given(gt=boxes_in(88, 120))
def test_any_boxes_follow_the_rule(gt):
    gt = [b for b in gt if b[2] > b[0] and b[3] > b[1]]
    assert_same_as_the_rule(grid(88, 120), gt, (88, 120))


def test_all_anchors_tied_at_the_maximum_are_positive():
    # 2 x 2 pixels around the corner of four cells: every anchor that holds them ties within its shape
    labels = assert_same_as_the_rule(grid(96, 128), [[63, 47, 65, 49]], (96, 128))
    ious = pairwise_iou(Boxes(torch.tensor([[63.0, 47, 65, 49]])), grid(96, 128))[0]
    assert (labels == 1).sum() > 1
    assert ious[torch.from_numpy(labels == 1)].unique().numel() == 1
    assert ious[torch.from_numpy(labels == 1)].max() < 0.3  # positive wins over negative


def test_a_box_that_no_inside_anchor_overlaps_makes_nothing_positive():
    # no anchor of the paper begins in the leftmost 8 pixels
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
    assert inside_image(boxes, (80, 100), tolerance=1).tolist() == [True] * 5


def test_a_positive_anchor_keeps_its_own_best_box_also_when_another_made_it_positive():
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10], [30, 30, 40, 40]]))
    # the second box has the first anchor as its best, which itself overlaps the first box more
    gt = [[0, 0, 10, 7.2], [8, 8, 20, 20]]
    labels, matched = match(anchors, gt, (100, 100))
    assert labels.tolist() == [1, 0]
    np.testing.assert_array_equal(matched[0], np.float32(gt[0]))
    labels, matched = match(anchors, gt[1:], (100, 100))
    np.testing.assert_array_equal(matched[0], np.float32(gt[1]))


@pytest.mark.parametrize(("right", "label"), [(7.0, 1), (6.9, -1), (3.0, -1), (2.9, 0)])
def test_thresholds_include_0_7_and_exclude_0_3(right, label):
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10]]))
    gt = Boxes(torch.tensor([[0.0, 0, right, 10]]))  # IoU = right / 10
    labels, _ = match_anchors(anchors, gt, (50, 50), Matcher([0.3, 0.7], [0, -1, 1]), 0)
    assert labels[0] == label


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
    labels, _ = match(anchors, [[20, 20, 70, 70]], (96, 128))
    assert (labels[anchors.tensor[:, 2].numpy() > 128] == -1).all()
    assert (labels == 1).any()
