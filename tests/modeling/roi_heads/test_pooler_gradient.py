"""Where the gradient of RoI max pooling goes: to the highest cell of each bin (SPEC 5.1)."""

from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.roi_max_pooling import roi_max_pool, roi_max_pool_gradient


def gradient_of(feature, boxes, bins, upstream, **corners):
    leaf = torch.from_numpy(feature[None]).requires_grad_()
    pooled = FasterRCNNROIPooler(bins, [1 / 16], **corners)([leaf], [Boxes(torch.tensor(boxes, dtype=torch.float32))])
    pooled.backward(torch.from_numpy(upstream).float())
    return leaf.grad[0].numpy()


@pytest.mark.parametrize("bins", [6, 7])
@pytest.mark.parametrize("round_corners", [False, True])
@given(
    seed=st.integers(0, 10**6),
    levels=st.sampled_from([2, 1000]),  # few levels: many cells of a bin are equally high, as zeros after a ReLU are
    quarters=st.lists(st.tuples(*[st.integers(-200, 700)] * 2, *[st.integers(0, 700)] * 2), min_size=1, max_size=3),
)
def test_random_boxes(bins, round_corners, seed, levels, quarters):
    random = np.random.RandomState(seed)
    feature = random.randint(0, levels, (2, 9, 8)).astype(np.float32)
    boxes = [[x / 4, y / 4, (x + w) / 4, (y + h) / 4] for x, y, w, h in quarters]
    upstream = random.randint(1, 9, (len(boxes), 2, bins, bins)).astype(np.float64)
    origins = [roi_max_pool(feature, box, bins, round_corners=round_corners)[1] for box in boxes]
    expected = roi_max_pool_gradient(feature.shape, origins, upstream)
    actual = gradient_of(feature, boxes, bins, upstream, round_corners=round_corners)
    np.testing.assert_array_equal(actual, expected)


def test_all_of_it_goes_to_one_cell():
    feature = np.zeros((1, 6, 6), np.float32)
    feature[0, 3, 2] = 1
    gradient = gradient_of(feature, [[16, 16, 65, 65]], 1, np.full((1, 1, 1, 1), 7.0))
    assert gradient[0, 3, 2] == 7
    assert gradient.sum() == 7


def test_empty_bins_pass_none():
    """A box that reaches one column into the map from outside: five of its six columns of bins are empty."""
    feature = -np.ones((1, 6, 6), np.float32)
    values, origins = roi_max_pool(feature, [-80, 0, 1, 96], 6)
    assert (values[0, :, :5] == 0).all()
    assert (values[0, :, 5] == -1).all()
    upstream = np.ones((1, 1, 6, 6))
    gradient = gradient_of(feature, [[-80, 0, 1, 96]], 6, upstream)
    assert gradient.sum() == 6
    np.testing.assert_array_equal(gradient, roi_max_pool_gradient(feature.shape, [origins], upstream))


def test_a_cell_of_several_bins_gets_the_sum():
    """Three cells in six bins: each cell is the only one of two bins in both directions."""
    feature = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    gradient = gradient_of(feature, [[0, 0, 33, 33]], 6, np.ones((1, 1, 6, 6)))
    np.testing.assert_array_equal(gradient, np.full((1, 3, 3), 4.0))
