"""PyramidROIPooler: which size each region is pooled from, and what it finds there (SPEC 10.3)."""

from frcnn_alt.modeling.image_pyramid import FeaturePyramid
from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler, PyramidROIPooler
from frcnn_alt.modeling.roi_heads.pyramid_pooler import nearest_sizes

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.dense_windows import box_at_size, nearest_size
from oracles.roi_max_pooling import roi_max_pool

SHOWN = [(120, 200), (144, 96)]  # two images
# Their sizes in the pyramid; that of the first image in the middle is the one it is shown at.
SIZES = [[(60, 100), (120, 200), (181, 302)], [(77, 51), (100, 67), (151, 101)]]
SIDE = 50


def scales_of(sizes, shown):
    return [(width / shown[1], height / shown[0]) for height, width in sizes]


def random_boxes(random, shown, count):
    height, width = shown
    x, y = (np.sort(random.uniform(0, side, (count, 2)), axis=1) for side in (width, height))
    return np.stack([x[:, 0], y[:, 0], x[:, 1] + 1, y[:, 1] + 1], axis=1).astype(np.float32)


@given(seed=st.integers(0, 10**6), side=st.sampled_from([20, 50, 120]))
def test_each_region_has_the_size_of_the_nearest_area(seed, side):
    random = np.random.default_rng(seed)
    for shown, sizes in zip(SHOWN, SIZES):
        boxes = random_boxes(random, shown, 12)
        found = nearest_sizes(torch.from_numpy(boxes), scales_of(sizes, shown), side)
        assert found.tolist() == [nearest_size(box, shown, sizes, side) for box in boxes]


def test_the_papers_sizes_by_hand():
    """A 128 x 128 window of a 600 x 1000 image, shown at 1200: 96, 115, 138, 173 and 240 pixels wide at the sizes."""
    sizes = [(side, side * 5 / 3) for side in (480, 576, 688, 864, 1200)]
    boxes = torch.tensor([[0.0, 0, side, side] for side in (256, 384, 512, 1024)])
    assert nearest_sizes(boxes, scales_of(sizes, (1200, 2000)), 224).tolist() == [4, 2, 0, 0]
    assert 512 * 480 / 1200 < 224 < 512 * 576 / 1200
    assert 224**2 - (512 * 480 / 1200) ** 2 < (512 * 576 / 1200) ** 2 - 224**2


def test_of_equal_sizes_it_is_the_first():
    boxes = torch.tensor([[0.0, 0, 30, 30], [5, 5, 90, 95]])
    assert nearest_sizes(boxes, [(1.5, 1.5), (1.5, 1.5), (1.5, 1.5)], 224).tolist() == [0, 0]


def pyramid(random, channels=3):
    levels = []
    for number in range(len(SIZES[0])):
        cells = [max(-(-sizes[number][side] // 16) for sizes in SIZES) for side in (0, 1)]
        levels.append(torch.from_numpy(random.standard_normal((2, channels, *cells)).astype(np.float32)))
    scales = [[scales_of(sizes, shown)[number] for sizes, shown in zip(SIZES, SHOWN)] for number in range(3)]
    return FeaturePyramid(levels, scales)


@pytest.mark.parametrize("rounds", [True, False])
def test_it_pools_each_region_from_its_size_in_that_sizes_own_pixels(rounds):
    """That the last pixel counts, and the rounding to whole pixels, holds at that size."""
    random = np.random.default_rng(4)
    feature = pyramid(random)
    boxes = [random_boxes(random, shown, 40) for shown in SHOWN]
    pooler = PyramidROIPooler(6, [1 / 16], round_corners=rounds, canonical_box_size=SIDE)
    pooled = pooler([feature], [Boxes(torch.from_numpy(of_image)) for of_image in boxes]).numpy()
    assert pooled.shape == (80, 3, 6, 6)
    numbers = []
    for n, (shown, sizes) in enumerate(zip(SHOWN, SIZES)):
        for box, values in zip(boxes[n], pooled[40 * n :]):
            numbers.append(nearest_size(box, shown, sizes, SIDE))
            corners = np.float32(box_at_size(box, shown, sizes[numbers[-1]]))
            level = feature.levels[numbers[-1]][n].numpy()
            expected, _ = roi_max_pool(level, corners, 6, round_corners=rounds)
            np.testing.assert_array_equal(values, expected, f"{box} at {sizes[numbers[-1]]}")
    assert set(numbers[:40]) == set(numbers[40:]) == {0, 1, 2}


def test_no_regions_and_one_image_without_any():
    feature = pyramid(np.random.default_rng(5))
    pooler = PyramidROIPooler(6, [1 / 16], canonical_box_size=SIDE)
    none, one = Boxes(torch.zeros(0, 4)), Boxes(torch.tensor([[3.0, 4, 60, 70]]))
    assert pooler([feature], [none, none]).shape == (0, 3, 6, 6)
    assert torch.equal(pooler([feature], [none, one])[0], pooler([feature], [one, one])[1])


def test_in_training_it_pools_the_map_of_the_input():
    random = np.random.default_rng(6)
    maps = torch.from_numpy(random.standard_normal((2, 3, 9, 13)).astype(np.float32))
    boxes = [Boxes(torch.from_numpy(random_boxes(random, shown, 9))) for shown in SHOWN]
    poolers = PyramidROIPooler(6, [1 / 16], canonical_box_size=SIDE), FasterRCNNROIPooler(6, [1 / 16])
    assert torch.equal(*(pooler([maps], boxes) for pooler in poolers))


def test_features_of_several_strides_are_refused():
    with pytest.raises(ValueError, match="MODEL.PYRAMID.SIZES_TEST is for one feature.*are 2"):
        PyramidROIPooler(6, [1 / 8, 1 / 16])
