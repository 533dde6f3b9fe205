"""Selection of proposals against a slow version of the order of SPEC 4.5, and where it differs from stock."""

import frcnn_alt  # noqa: F401, I001
import numpy as np
import pytest
import torch
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from hypothesis import given
from hypothesis import strategies as st

from frcnn_alt.modeling.proposal_generator import select_proposals
from oracles import proposal_selection as oracle
from small_rpn import inclusive

LIMITS = {"min_box_size": 16.0, "pre_nms_topk": 1000, "nms_thresh": 0.7, "post_nms_topk": 300}


def select_levels(boxes, scores, image_size=(100, 100), scale=(1.0, 1.0), training=False, **limits):
    """Boxes and scores that remain of one image, from a list of levels."""
    boxes = [torch.as_tensor(b, dtype=torch.float32).reshape(1, -1, 4) for b in boxes]
    scores = [torch.as_tensor(s, dtype=torch.float32).reshape(1, -1) for s in scores]
    (result,) = select_proposals(boxes, scores, [image_size], [scale], training=training, **{**LIMITS, **limits})
    assert result.image_size == image_size
    assert len(result.proposal_boxes) == len(result.objectness_logits)
    return result.proposal_boxes.tensor.numpy(), result.objectness_logits.numpy()


def select(boxes, scores, *args, **kwargs):
    return select_levels([boxes], [scores], *args, **kwargs)


def rows(proposals):
    """The oracle's boxes and scores, in continuous corners."""
    boxes = np.array([box for box, _ in proposals], dtype=np.float64).reshape(-1, 4) + [0, 0, 1, 1]
    return boxes, np.array([score for _, score in proposals])


@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([(1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (1.5, 0.75)]),
    before_nms=st.sampled_from([1, 7, 1000]),
    threshold=st.sampled_from([0.3125, 0.5, 0.7]),
    after_nms=st.sampled_from([1, 4, 300]),
    different_scores=st.sampled_from([1, 5, 40]),
)
def test_any_boxes_follow_the_originals_order(seed, scale, before_nms, threshold, after_nms, different_scores):
    random = np.random.default_rng(seed)
    corners, sides = random.integers(-20, 110, (40, 2)), random.integers(1, 70, (40, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    boxes[30:] = boxes[:10]  # some twice
    scores = random.permutation(40) % different_scores / 8 - 2
    limits = {"pre_nms_topk": before_nms, "nms_thresh": threshold, "post_nms_topk": after_nms}
    kept_boxes, kept_scores = select(boxes, scores, (90, 100), scale, **limits)
    expected_boxes, expected_scores = rows(
        oracle.select_proposals(
            inclusive(boxes).tolist(),
            scores,
            90,
            100,
            scale,
            before_nms=before_nms,
            threshold=threshold,
            after_nms=after_nms,
        )
    )
    np.testing.assert_array_equal(kept_boxes, expected_boxes)
    np.testing.assert_array_equal(kept_scores, expected_scores)


CORNERS = {
    "at x = 0": [[0, 0, 30, 40], [-30, 0, 30, 40], [-30, 0, 10, 40]],
    "flush right and bottom": [[70, 60, 100, 90], [70, 60, 130, 140], [90, 60, 130, 140]],
    "beyond the image": [[-40, -40, -5, -5], [120, 100, 170, 160], [0, 100, 50, 130]],
    "the whole image and more": [[-10, -10, 110, 100], [0, 0, 100, 90]],
    "one pixel": [[40, 40, 41, 41], [99, 89, 100, 90]],
    "16 pixels": [[40, 40, 56, 56], [0, 0, 16, 15], [84, 74, 100, 90]],
    "none": [],
}


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_follow_the_originals_order(corner):
    boxes = CORNERS[corner]
    scores = [0.5 - 0.125 * i for i in range(len(boxes))]
    expected_boxes, expected_scores = rows(oracle.select_proposals(inclusive(boxes).tolist(), scores, 90, 100))
    kept_boxes, kept_scores = select(boxes, scores, (90, 100))
    np.testing.assert_array_equal(kept_boxes, expected_boxes)
    np.testing.assert_array_equal(kept_scores, expected_scores)
    assert (len(kept_boxes) == 0) == (corner in ("beyond the image", "one pixel", "none"))


def test_more_boxes_than_the_limits_with_many_equal_scores():
    random = np.random.default_rng(0)
    corners, sides = random.integers(0, 900, (1500, 2)), random.integers(10, 90, (1500, 2))
    boxes, scores = np.concatenate([corners, corners + sides], axis=1), random.integers(0, 40, 1500) / 8
    limits = {"pre_nms_topk": 1200, "post_nms_topk": 300}
    kept_boxes, kept_scores = select(boxes, scores, (600, 1000), **limits)
    expected_boxes, expected_scores = rows(
        oracle.select_proposals(inclusive(boxes).tolist(), scores, 600, 1000, before_nms=1200)
    )
    np.testing.assert_array_equal(kept_boxes, expected_boxes)
    np.testing.assert_array_equal(kept_scores, expected_scores)


def test_boxes_that_are_dropped_take_no_place_before_nms():
    boxes, scores = [[0, 0, 5, 50], [-40, 0, 10, 50], [0, 0, 40, 40], [50, 50, 90, 90]], [4.0, 3.0, 2.0, 1.0]
    kept, _ = select(boxes, scores, pre_nms_topk=2)
    np.testing.assert_array_equal(kept, boxes[2:])
    (stock,) = find_top_rpn_proposals(
        [torch.tensor([boxes], dtype=torch.float32)], [torch.tensor([scores])], [(100, 100)], 0.7, 2, 300, 16.0, False
    )
    assert len(stock) == 0  # cut to two first, then both dropped


@pytest.mark.parametrize(
    ("box", "scale", "is_kept"),
    [
        ([0, 0, 16, 16], (1.0, 1.0), True),  # inclusive
        ([0, 0, 15.9, 16], (1.0, 1.0), False),
        ([0, 0, 16, 15.9], (1.0, 1.0), False),
        ([0, 0, 32, 32], (2.0, 2.0), True),  # the image was enlarged twice
        ([0, 0, 31, 32], (2.0, 2.0), False),
        ([0, 0, 8, 8], (0.5, 0.5), True),
        ([0, 0, 16, 32], (2.0, 1.0), True),  # height twice, width as it was
        ([0, 0, 32, 16], (2.0, 1.0), False),
        ([-20, 0, 15, 40], (1.0, 1.0), False),  # measured after clipping
        ([-20, 0, 16, 40], (1.0, 1.0), True),
    ],
)
def test_minimum_side_is_in_pixels_of_the_original_image(box, scale, is_kept):
    assert len(select([box], [0.0], scale=scale)[0]) == is_kept


def test_without_minimum_boxes_without_area_are_dropped():
    boxes = [[-9, 0, 0, 9], [120, 10, 130, 20], [5, 5, 5, 9], [5, 5, 9, 5], [5, 5, 6, 6]]
    boxes, _ = select(boxes, [1.0, 2, 3, 4, 0], min_box_size=0.0)
    np.testing.assert_array_equal(boxes, [[5, 5, 6, 6]])


def test_no_survivor_gives_empty_proposals():
    for boxes, scores in (([[0, 0, 3, 3]], [1.0]), (np.zeros((0, 4)), [])):
        boxes, scores = select(boxes, scores)
        assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_one_image_without_survivors_does_not_disturb_the_next():
    boxes = torch.tensor([[[0.0, 0, 3, 3], [5, 5, 9, 9]], [[0.0, 0, 30, 30], [50, 50, 90, 90]]])
    empty, full = select_proposals(
        [boxes],
        [torch.tensor([[1.0, 2.0], [1.0, 2.0]])],
        [(100, 100), (80, 100)],
        [(1.0, 1.0)] * 2,
        training=True,
        **LIMITS,
    )
    assert len(empty) == 0
    assert full.proposal_boxes.tensor.tolist() == [[50, 50, 90, 80], [0, 0, 30, 30]]


def test_suppression_is_strict_and_stays_within_a_level():
    first, second = [0.0, 0, 40, 40], [0.0, 0, 40, 20]  # IoU 0.5 exactly
    assert len(select([first, second], [1.0, 2.0], nms_thresh=0.5)[0]) == 2
    assert len(select([first, [0, 0, 40, 28]], [1.0, 2.0], nms_thresh=0.7)[0]) == 2
    assert len(select([first, [0, 0, 40, 28.01]], [1.0, 2.0], nms_thresh=0.7)[0]) == 1
    assert len(select([first, second], [1.0, 2.0], nms_thresh=0.49)[0]) == 1
    boxes, scores = select_levels([[first], [second]], [[1.0], [2.0]], nms_thresh=0.49)
    np.testing.assert_array_equal(boxes, [second, first])
    np.testing.assert_array_equal(scores, [2.0, 1.0])


def test_limits_before_nms_hold_for_each_level_and_after_nms_for_all():
    levels = [[[10 * i, 0, 10 * i + 20, 20] for i in range(4)], [[10 * i, 50, 10 * i + 20, 70] for i in range(4)]]
    scores = [[8.0, 7, 6, 5], [4.0, 3, 2, 1]]
    assert select_levels(levels, scores, pre_nms_topk=3)[1].tolist() == [8, 7, 6, 4, 3, 2]
    assert select_levels(levels, scores, pre_nms_topk=3, post_nms_topk=4)[1].tolist() == [8, 7, 6, 4]


def test_equal_scores_keep_the_order_of_the_anchors():
    boxes = [[20 * i, 20 * j, 20 * i + 20, 20 * j + 20] for j in range(5) for i in range(5)]
    np.testing.assert_array_equal(select(boxes, np.zeros(25), pre_nms_topk=10)[0], boxes[:10])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite_is_an_error_in_training_and_dropped_at_test(bad):
    good = [50.0, 50, 90, 90]
    for boxes, scores in (([[bad, 0, 30, 30], good], [2.0, 1.0]), ([[0, 0, 30, 30], good], [bad, 1.0])):
        np.testing.assert_array_equal(select(boxes, scores)[0], [good])
        with pytest.raises(FloatingPointError, match="1 of 2 predicted boxes or scores of image 0"):
            select(boxes, scores, training=True)
