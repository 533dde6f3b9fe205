"""The sample of anchors that trains the RPN: how many of each kind, and each equally likely (SPEC 4.3)."""

from itertools import combinations

from frcnn_alt.modeling.proposal_generator import match_anchors

import pytest
import torch
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.anchor_sampling import chi_square, probability_of, sampling_counts
from small_rpn import IMAGES, grid, ground_truth, make_rpn


def counts(labels):
    return int((labels == 1).sum()), int((labels == 0).sum())


@pytest.fixture(scope="module")
def rpn():
    return make_rpn()


def row_of_anchors(positives, negatives, ignored):
    """Anchors of an image with one object, so many of each kind: on it, beside it, and beyond the border."""
    boxes = [[10, 10, 50, 50]] * positives + [[60, 10, 100, 50]] * negatives + [[-5, 10, 35, 50]] * ignored
    return [Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))], ground_truth([[10, 10, 50, 50]])


@given(positives=st.integers(0, 300), negatives=st.integers(0, 600), ignored=st.integers(0, 20))
def test_any_numbers_of_anchors_are_sampled_by_the_rule(rpn, positives, negatives, ignored):
    anchors, image = row_of_anchors(positives, negatives, ignored)
    (labels,), _ = rpn.label_and_sample_anchors(anchors, [image])
    assert counts(labels) == sampling_counts(positives, negatives)
    assert (labels[:positives] != 0).all()
    assert (labels[positives : positives + negatives] != 1).all()
    assert (labels[positives + negatives :] == -1).all()


@pytest.mark.parametrize(
    ("positives", "negatives", "drawn"),
    [
        (500, 500, (128, 128)),
        (128, 500, (128, 128)),
        (127, 500, (127, 129)),  # filled with negatives
        (0, 500, (0, 256)),
        (500, 100, (128, 100)),  # positives do not fill the places of negatives
        (3, 4, (3, 4)),
        (0, 0, (0, 0)),
    ],
)
def test_256_anchors_of_which_at_most_128_positive(rpn, positives, negatives, drawn):
    anchors, image = row_of_anchors(positives, negatives, 1)
    (labels,), _ = rpn.label_and_sample_anchors(anchors, [image])
    assert counts(labels) == drawn == sampling_counts(positives, negatives)


def test_each_image_of_a_batch_is_sampled_by_itself(rpn):
    anchors = grid(rpn, 400, 400)
    many = ground_truth([[x, y, x + 46, y + 24] for x in range(1, 340, 16) for y in range(4, 360, 16)], (400, 400))
    few = ground_truth([[10, 12, 60, 70]], (400, 400))
    labels, boxes = rpn.label_and_sample_anchors(anchors, [many, few])
    assert counts(labels[0]) == (128, 128)
    assert 0 < int((labels[1] == 1).sum()) < 128
    assert int((labels[1] >= 0).sum()) == 256
    assert [tuple(b.shape) for b in boxes] == [(len(anchors[0]), 4)] * 2


def test_a_sample_is_a_random_part_of_the_labels():
    rpn = make_rpn("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 8)
    anchors = grid(rpn)
    full, _ = match_anchors(anchors[0], IMAGES[0].gt_boxes, (96, 128), rpn.anchor_matcher, 0)
    torch.manual_seed(5)
    samples = [rpn.label_and_sample_anchors(anchors, IMAGES[:1])[0][0] for _ in range(20)]
    for sample in samples:
        assert (sample[sample >= 0] == full[sample >= 0]).all()
        assert (sample >= 0).sum() == 8
    assert len({tuple(s.tolist()) for s in samples}) > 10


def test_every_set_of_anchors_is_equally_likely():
    """Over seeds: each anchor, each pair and each set of three comes up as often as chance has it."""
    rpn = make_rpn("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 6)
    available, drawn, seeds = 6, 3, 600
    anchors, image = row_of_anchors(available, available, 0)
    samples = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        (labels,), _ = rpn.label_and_sample_anchors(anchors, [image])
        samples.append(((labels[:available] == 1).tolist(), (labels[available:] == 0).tolist()))
    for kind in (0, 1):
        for members in (1, 2, 3):
            sets = list(combinations(range(available), members))
            observed = [sum(all(sample[kind][i] for i in chosen) for sample in samples) for chosen in sets]
            expected = seeds * probability_of(members, drawn, available)
            deviation = (expected * (1 - expected / seeds)) ** 0.5
            assert max(abs(count - expected) for count in observed) < 4 * deviation
        assert chi_square(observed, expected) < 43.8  # 20 sets of three: 19 degrees of freedom, exceeded once in 1000
    # positives and negatives are drawn independently of each other
    together = sum(positive[0] and negative[0] for positive, negative in samples)
    assert abs(together - seeds / 4) < 4 * (seeds * 3 / 16) ** 0.5
