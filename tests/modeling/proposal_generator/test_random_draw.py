"""SPEC 8.1, "no cls": every box is as likely as any other, none comes twice, and the draw is the image's own."""

from frcnn_alt.modeling.proposal_generator import ImageFacts, draw_lots, draw_proposals

import numpy as np
import pytest
import torch

SIZE = (100, 100)
# Two levels of 14 and 6 boxes. Of each, two are dropped: one beyond the image, one narrower than 16 pixels.
LEVELS = [
    torch.tensor(
        [[[3.0 * i, 2.0 * i, 3.0 * i + 40, 2.0 * i + 30] for i in range(12)] + [[-50, 0, -5, 40], [0, 0, 9, 40]]]
    ),
    torch.tensor(
        [[[2.0 * i, 3.0 * i, 2.0 * i + 50, 3.0 * i + 45] for i in range(4)] + [[120, 0, 180, 40], [0, 0, 9, 90]]]
    ),
]
LEFT = [tuple(box) for level, count in zip(LEVELS, (12, 4)) for box in level[0, :count].tolist()]


def draw(number, seed=0, name="000001", levels=LEVELS):
    (found,) = draw_proposals(levels, [SIZE], [ImageFacts(name=name)], min_box_size=16.0, number=number, seed=seed)
    assert found.image_size == SIZE and len(found.proposal_boxes) == len(found.objectness_logits)
    return [tuple(box) for box in found.proposal_boxes.tensor.tolist()], found.objectness_logits.tolist()


def batch(names, number=5):
    levels = [level.expand(len(names), -1, -1) for level in LEVELS]
    images = [ImageFacts(name=name) for name in names]
    found = draw_proposals(levels, [SIZE] * len(names), images, min_box_size=16.0, number=number, seed=3)
    return {name: one.proposal_boxes.tensor.tolist() for name, one in zip(names, found)}


def test_boxes_are_of_those_that_are_left_and_none_comes_twice():
    for seed in range(50):
        boxes, order = draw(9, seed)
        assert len(set(boxes)) == 9 and set(boxes) <= set(LEFT)
        assert order == [0, -1, -2, -3, -4, -5, -6, -7, -8]
        assert sorted(draw(1000, seed)[0]) == sorted(LEFT)  # all there are


@pytest.mark.parametrize("varied", ["seed", "name"])
def test_every_box_and_every_pair_is_equally_likely(varied):
    """Each count is within 4.5 standard deviations of its expectation; over its 200 counts, chance alone: 1 in 700."""
    draws, number, left = 1500, 4, len(LEFT)
    at = np.zeros((number, left))
    together = np.zeros((left, left))
    for index in range(draws):
        drawn = [LEFT.index(box) for box in draw(number, **{varied: index if varied == "seed" else f"{index:06d}"})[0]]
        at[np.arange(number), drawn] += 1
        together[np.ix_(drawn, drawn)] += 1
    pairs = together[np.triu_indices(left, k=1)]
    for counts, chance in (
        (at, 1 / left),  # in each place of the draw, so that its beginnings are draws too
        (together.diagonal(), number / left),
        (pairs, number * (number - 1) / (left * (left - 1))),
    ):
        deviation = (draws * chance * (1 - chance)) ** 0.5
        assert np.abs(counts - draws * chance).max() < 4.5 * deviation
        assert counts.std() > 0.3 * deviation  # nor are they all alike, as of a draw by turns


def test_the_first_of_a_draw_are_a_draw():
    boxes, order = draw(16)
    for number in range(1, 16):
        assert draw(number) == (boxes[:number], order[:number])


def test_a_draw_is_the_images_own_whatever_else_is_in_the_batch():
    together, reversed_batch = batch(["a", "b", "c"]), batch(["c", "b", "a"])
    alone = {name: batch([name])[name] for name in "abc"}
    assert together == reversed_batch == alone
    assert len({str(boxes) for boxes in alone.values()}) == 3


def test_images_without_a_name_share_one_draw_of_the_seed():
    assert draw(5, name="") == draw(5, name="") != draw(5, name="", seed=1)


def test_the_same_anchors_win_where_other_boxes_are_dropped():
    """As without regression: of boxes elsewhere, the lots of those that are there decide as before."""
    moved = [level.clone() for level in LEVELS]
    for level in moved:
        level[0, 1::3] = torch.tensor([0.0, 0.0, 9.0, 9.0])  # too small now
    still = {tuple(box) for level in moved for box in level[0].tolist()}
    assert draw(20, levels=moved)[0] == [box for box in draw(20)[0] if box in still]


def test_lots_do_not_change_with_process_or_version():
    """The numbers were written down once; sha256 and numpy's RandomState keep theirs for good."""
    assert draw_lots(12, 0, "000001").tolist() == [1, 11, 8, 0, 2, 9, 5, 4, 3, 7, 10, 6]
    assert draw_lots(12, 1, "a/b.jpg").tolist() == [0, 5, 8, 1, 6, 9, 2, 7, 11, 10, 4, 3]


def test_nothing_to_draw_from():
    for level in (torch.zeros(1, 0, 4), torch.tensor([[[0.0, 0, 3, 3], [float("nan"), 0, 50, 50]]])):
        assert draw(5, levels=[level]) == ([], [])


def test_boxes_that_are_not_finite_are_dropped():
    level = torch.tensor([[[0.0, 0, 40, 40], [float("inf"), 0, 50, 50], [5, 5, 60, 60]]])
    assert sorted(draw(5, levels=[level])[0]) == [(0.0, 0.0, 40.0, 40.0), (5.0, 5.0, 60.0, 60.0)]


def test_small_is_measured_in_pixels_of_the_original_image():
    boxes = torch.tensor([[[0.0, 0, 16, 20], [0, 0, 20, 16], [0, 0, 32, 20], [0, 0, 15.9, 20]]])
    for scale, count in (((1.0, 1.0), 3), ((1.0, 2.0), 1), ((0.5, 0.5), 4)):
        (found,) = draw_proposals([boxes], [SIZE], [ImageFacts(scale, "a")], min_box_size=16.0, number=9, seed=0)
        assert len(found) == count
