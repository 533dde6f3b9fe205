from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler

import numpy as np
import pytest
import torch
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.roi_max_pooling import bins_of, cells_of, roi_max_pool, round_half_away

# Names of the corners that the pooler can be told to pool between: MATLAB's, py-faster-rcnn's, detectron2's.
CORNERS = {
    "rounded": {"inclusive_corners": True, "round_corners": True},
    "inclusive": {"inclusive_corners": True, "round_corners": False},
    "continuous": {"inclusive_corners": False, "round_corners": False},
}


def pool(feature, boxes, bins, corners, stride=16):
    pooler = FasterRCNNROIPooler(bins, [1 / stride], **CORNERS[corners])
    return pooler([torch.from_numpy(feature[None])], [Boxes(torch.tensor(boxes, dtype=torch.float32))])


def assert_pooled_by_the_rule(feature, boxes, bins, corners, stride=16):
    pooled = pool(feature, boxes, bins, corners, stride).numpy()
    assert pooled.shape == (len(boxes), len(feature), bins, bins)
    for box, values in zip(np.asarray(boxes, np.float32), pooled):
        expected, _ = roi_max_pool(feature, box, bins, stride, **CORNERS[corners])
        np.testing.assert_array_equal(values, expected, str(box))


@pytest.mark.parametrize(
    "cells, bins, expected",
    [
        (5, 6, [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]),
        (5, 7, [(0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 5), (4, 5)]),
        (10, 6, [(0, 2), (1, 4), (3, 5), (5, 7), (6, 9), (8, 10)]),
        (10, 7, [(0, 2), (1, 3), (2, 5), (4, 6), (5, 8), (7, 9), (8, 10)]),
        (3, 6, [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3)]),
    ],
)
def test_bins_are_those_of_the_specification(cells, bins, expected):
    assert bins_of(cells, bins) == expected
    assert bins_that_are_pooled(cells, bins) == expected


def bins_that_are_pooled(cells, bins):
    """The highest cell of a bin is its last in a map that grows, its first in one that falls."""
    growing = np.tile(np.arange(70, dtype=np.float32), (1, 2, 1)) + 1
    box = [[0, 0, 16 * (cells - 1) + 1, 17]]
    last = pool(growing, box, bins, "inclusive")[0, 0, 0]
    first = 71 - pool(71 - growing, box, bins, "inclusive")[0, 0, 0]
    return [(int(f) - 1, int(a)) for f, a in zip(first, last)]


@pytest.mark.parametrize("bins", [6, 7])
def test_bins_for_every_number_of_cells_of_an_image_of_1000_pixels(bins):
    """All but one are the rule's: Caffe reaches a cell further in the last of 7 bins over 57 cells, and so do we."""
    for cells in range(1, 65):
        pooled = bins_that_are_pooled(cells, bins)
        assert pooled == bins_of(cells, bins, single_precision=True)
        if (cells, bins) == (57, 7):
            assert bins_of(57, 7)[-1] == (48, 57)
            assert pooled[-1] == (48, 58)
            pooled[-1] = (48, 57)
        assert pooled == bins_of(cells, bins)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("bins", [6, 7])
@given(
    seed=st.integers(0, 10**6),
    quarters=st.lists(st.tuples(*[st.integers(-200, 1000)] * 2, *[st.integers(0, 900)] * 2), min_size=1, max_size=3),
)
def test_random_boxes(bins, corners, seed, quarters):
    """Corners in quarters of a pixel, so that halves occur; boxes of less than a pixel, and beyond the map."""
    feature = np.random.RandomState(seed).randint(-9, 9, (2, 12, 13)).astype(np.float32)
    boxes = [[x / 4, y / 4, (x + w) / 4, (y + h) / 4] for x, y, w, h in quarters]
    assert_pooled_by_the_rule(feature, boxes, bins, corners)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("bins", [6, 7])
def test_many_boxes(bins, corners):
    random = np.random.RandomState(bins)
    feature = random.randn(3, 12, 15).astype(np.float32)
    starts = random.randint(0, 200, (60, 2))
    boxes = np.concatenate([starts, starts + random.randint(1, 150, (60, 2))], axis=1).astype(np.float64)
    boxes[30:] += random.rand(30, 4)  # fractional, some narrower than a pixel, some beyond the map
    boxes[::7, 2:] = boxes[::7, :2] + 0.4
    boxes[::11] += 150
    assert_pooled_by_the_rule(feature, boxes, bins, corners)
    beyond = boxes[:, 0] > 16 * 16
    assert beyond.any()
    assert (pool(feature, boxes, bins, corners)[torch.from_numpy(beyond)] == 0).all()


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 1, 1],  # one pixel in the corner
        [0, 0, 240, 192],  # the whole map, flush with all edges
        [239, 191, 240, 192],  # one pixel at the right bottom
        [0, 50, 300, 60],  # beyond the right edge
        [-40, -40, -20, -20],  # outside: every bin is empty
        [-40, -40, 100, 100],
        [300, 300, 400, 400],
        [7.5, 7.5, 9, 9],
        [8.4, 8.6, 24.5, 24.4],
    ],
)
def test_corner_cases(corners, box):
    feature = np.random.RandomState(0).randn(2, 12, 15).astype(np.float32) - 5  # an empty bin's 0 is above all
    for bins in (6, 7):
        assert_pooled_by_the_rule(feature, [box], bins, corners)


@pytest.mark.parametrize("x2, cell", [(8, 1), (24, 2), (104, 7)])
def test_halves_round_up(x2, cell):
    feature = np.tile(np.arange(12, dtype=np.float32), (1, 12, 1))
    assert pool(feature, [[0, 0, x2, 16]], 1, "continuous").item() == cell
    assert pool(feature, [[0, 0, x2 + 1, 17]], 1, "inclusive").item() == cell
    assert cells_of([0, 0, x2, 16], 16, inclusive_corners=False)[2] == cell + 1


@pytest.mark.parametrize("x2, whole, cells", [(8.4, 7, (1, 1)), (8.5, 8, (1, 2)), (8.9, 8, (1, 2)), (9.0, 8, (2, 2))])
def test_rounded_corners_reach_half_a_pixel_further(x2, whole, cells):
    """The last pixel x2 - 1 of a box is `whole` when rounded: between 7.5 and 8 that is another cell (SPEC 5.1)."""
    assert round_half_away(x2 - 1) == whole
    feature = np.tile(np.arange(12, dtype=np.float32), (1, 12, 1))
    box = [0, 0, x2, 17]
    for corners, expected in zip(("inclusive", "rounded"), cells):
        assert cells_of(np.float32(box), 16, **CORNERS[corners])[2] == expected
        assert pool(feature, [box], 1, corners).item() == expected - 1


def test_every_sixteenth_box_reaches_a_cell_less_with_inclusive_corners():
    """SPEC 5.1: the box of pixels up to 103 ends in cell 6; its continuous corner 104 would end in cell 7."""
    feature = np.tile(np.arange(40, dtype=np.float32), (1, 40, 1))
    boxes = [[0, 0, x2, x2] for x2 in range(32, 480)]
    inclusive = pool(feature, boxes, 1, "inclusive").flatten()
    stock = pool(feature, boxes, 1, "continuous").flatten()
    assert torch.equal(pool(feature, boxes, 1, "rounded").flatten(), inclusive)  # these are whole pixels already
    assert inclusive[104 - 32] == 6
    assert stock[104 - 32] == 7
    assert (stock - inclusive).sum() == len(boxes) / 16
    assert set((stock - inclusive).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("corners", CORNERS)
def test_boxes_over_the_same_cells_have_the_same_features(corners):
    """So pooling them once, as both programs do to be faster, changes no result (SPEC 5.4)."""
    random = np.random.RandomState(1)
    feature = random.randn(2, 12, 15).astype(np.float32)
    starts = random.randint(0, 60, (400, 2))
    boxes = np.concatenate([starts, starts + 30 + random.rand(400, 2) * 40], axis=1).astype(np.float32)
    pooled = pool(feature, boxes, 6, corners)
    of_cells = {}
    for box, values in zip(boxes, pooled):
        of_cells.setdefault(cells_of(box, 16, **CORNERS[corners]), []).append(values)
    assert max(map(len, of_cells.values())) > 3 and len(of_cells) > 50
    assert all(torch.equal(values, same[0]) for same in of_cells.values() for values in same)


def test_boxes_of_an_image_are_pooled_from_its_own_map():
    features = torch.stack([torch.full((1, 4, 4), float(n)) for n in (1, 2, 3)])
    box = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    pooled = FasterRCNNROIPooler(2, [1 / 16])([features], [Boxes(box), Boxes(box[:0]), Boxes(box.repeat(2, 1))])
    assert pooled[:, 0, 0, 0].tolist() == [1.0, 3.0, 3.0]


def test_no_regions_at_all():
    feature = torch.randn(1, 5, 4, 4, requires_grad=True)
    pooled = FasterRCNNROIPooler(7, [1 / 16])([feature], [Boxes(torch.zeros(0, 4))])
    assert tuple(pooled.shape) == (0, 5, 7, 7)
    pooled.sum().backward()
    assert torch.equal(feature.grad, torch.zeros_like(feature))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_another_precision(dtype):
    """As under automatic mixed precision: features change their type, boxes do not, and cells stay the same."""
    torch.manual_seed(0)
    feature = torch.randn(1, 2, 20, 60, dtype=dtype)
    boxes = [Boxes(torch.tensor([[0.0, 0.0, 937.0, 313.0], [7.9, 8.1, 103.5, 105.0]]))]
    pooler = FasterRCNNROIPooler(6, [1 / 16])
    pooled = pooler([feature], boxes)
    assert pooled.dtype == dtype
    expected = pooler([feature.float()], boxes)
    torch.testing.assert_close(pooled.float(), expected)


def test_levels_are_chosen_by_the_true_size():
    """The pixel that is taken off must not move a box of 112 pixels to the level below."""
    random = np.random.RandomState(0)
    maps = [random.rand(1, 32, 32).astype(np.float32), random.rand(1, 16, 16).astype(np.float32) + 10]
    boxes = np.array([[0, 0, 112, 112], [0, 0, 111, 111], [3, 3, 3.4, 3.4], [0, 0, 250, 250]], dtype=np.float32)
    options = {"canonical_box_size": 112, "canonical_level": 4}
    pooler = FasterRCNNROIPooler(3, [1 / 8, 1 / 16], **options)
    pooled = pooler([torch.from_numpy(m[None]) for m in maps], [Boxes(torch.from_numpy(boxes))]).numpy()
    levels = assign_boxes_to_levels([Boxes(torch.from_numpy(boxes))], 3, 4, 112, 4).tolist()
    assert levels == [1, 0, 0, 1]
    for box, level, values in zip(boxes, levels, pooled):
        np.testing.assert_array_equal(values, roi_max_pool(maps[level], box, 3, 8 * 2**level)[0])


def test_other_poolings_have_continuous_corners():
    with pytest.raises(ValueError, match="POOLER_TYPE is ROIAlignV2, but POOLER_INCLUSIVE_CORNERS"):
        FasterRCNNROIPooler(7, [1 / 16], 0, "ROIAlignV2")
    pooled = FasterRCNNROIPooler(2, [1 / 16], 0, "ROIAlignV2", inclusive_corners=False)(
        [torch.ones(1, 1, 8, 8)], [Boxes(torch.tensor([[16.0, 16.0, 64.0, 64.0]]))]
    )
    assert torch.equal(pooled, torch.ones(1, 1, 2, 2))
