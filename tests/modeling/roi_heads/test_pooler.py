import math

from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler

import numpy as np
import pytest
import torch
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes


def round_half_away(value):
    return int(math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1))


def bin_edges(cells, bins):
    return [(b * cells // bins, -((-(b + 1) * cells) // bins)) for b in range(bins)]


def pool_cell_by_cell(feature, box, bins, stride, inclusive):
    """SPEC 5.1 with loops: feature (C, Hi, Wi), one box with continuous corners -> (C, bins, bins)."""
    x1, y1, x2, y2 = (np.float32(v) for v in box)
    if inclusive:
        x2, y2 = x2 - np.float32(1), y2 - np.float32(1)
    first = [round_half_away(v / stride) for v in (y1, x1)]
    last = [round_half_away(v / stride) for v in (y2, x2)]
    cells = [max(b - a + 1, 1) for a, b in zip(first, last)]
    channels, height, width = feature.shape
    result = np.zeros((channels, bins, bins), feature.dtype)
    for i, (top, bottom) in enumerate(bin_edges(cells[0], bins)):
        for j, (left, right) in enumerate(bin_edges(cells[1], bins)):
            rows = [r for r in range(first[0] + top, first[0] + bottom) if 0 <= r < height]
            columns = [c for c in range(first[1] + left, first[1] + right) if 0 <= c < width]
            if rows and columns:
                result[:, i, j] = feature[:, rows][:, :, columns].max(axis=(1, 2))
    return result


def pool(feature, boxes, bins, inclusive, stride=16):
    pooler = FasterRCNNROIPooler(bins, [1 / stride], inclusive_corners=inclusive)
    return pooler([torch.from_numpy(feature[None])], [Boxes(torch.tensor(boxes, dtype=torch.float32))])


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
    """The highest cell of a bin is its last in a map that grows, its first in one that falls."""
    assert bin_edges(cells, bins) == expected
    growing = np.tile(np.arange(cells, dtype=np.float32), (1, cells, 1)) + 1
    box = [[0, 0, 16 * (cells - 1) + 1, 16 * (cells - 1) + 1]]
    last = pool(growing, box, bins, inclusive=True)[0, 0, 0]
    first = pool(cells + 1 - growing, box, bins, inclusive=True)[0, 0, 0]
    assert [(int(cells - f), int(a)) for f, a in zip(first, last)] == expected


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("bins", [6, 7])
def test_agrees_with_a_cell_by_cell_computation(bins, inclusive):
    random = np.random.RandomState(bins)
    feature = random.randn(3, 12, 15).astype(np.float32)
    corners = random.randint(0, 200, (60, 2))
    boxes = np.concatenate([corners, corners + random.randint(1, 150, (60, 2))], axis=1).astype(np.float64)
    boxes[30:] += random.rand(30, 4)  # fractional, some narrower than a pixel, some beyond the map
    boxes[::7, 2:] = boxes[::7, :2] + 0.4
    boxes[::11] += 150
    actual = pool(feature, boxes, bins, inclusive).numpy()
    assert actual.shape == (60, 3, bins, bins)
    for box, pooled in zip(boxes, actual):
        np.testing.assert_array_equal(pooled, pool_cell_by_cell(feature, box, bins, 16, inclusive), str(box))
    assert (actual[boxes[:, 0] > 16 * 16] == 0).all()


@pytest.mark.parametrize("x2, cell", [(8, 1), (24, 2), (104, 7)])
def test_halves_round_up(x2, cell):
    feature = np.tile(np.arange(12, dtype=np.float32), (1, 12, 1))
    assert pool(feature, [[0, 0, x2, 16]], 1, inclusive=False).item() == cell


def test_every_sixteenth_box_reaches_a_cell_less_with_inclusive_corners():
    """SPEC 5.1: the box of pixels up to 103 ends in cell 6; its continuous corner 104 would end in cell 7."""
    feature = np.tile(np.arange(40, dtype=np.float32), (1, 40, 1))
    boxes = [[0, 0, x2, x2] for x2 in range(32, 480)]
    inclusive = pool(feature, boxes, 1, inclusive=True).flatten()
    stock = pool(feature, boxes, 1, inclusive=False).flatten()
    assert inclusive[104 - 32] == 6
    assert stock[104 - 32] == 7
    assert (stock - inclusive).sum() == len(boxes) / 16
    assert set((stock - inclusive).tolist()) == {0.0, 1.0}


def test_gradient_goes_to_the_highest_cell():
    torch.manual_seed(0)
    feature = torch.randn(1, 2, 6, 6, requires_grad=True)
    pooler = FasterRCNNROIPooler(1, [1 / 16])
    pooler([feature], [Boxes(torch.tensor([[16.0, 16.0, 65.0, 65.0]]))]).sum().backward()
    inside = torch.full_like(feature, -math.inf)
    inside[:, :, 1:5, 1:5] = feature.detach()[:, :, 1:5, 1:5]
    assert torch.equal(feature.grad, (inside == inside.amax(dim=(2, 3), keepdim=True)).float())


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
        np.testing.assert_array_equal(values, pool_cell_by_cell(maps[level], box, 3, 8 * 2**level, inclusive=True))


def test_other_poolings_have_continuous_corners():
    with pytest.raises(ValueError, match="POOLER_TYPE is ROIAlignV2, but POOLER_INCLUSIVE_CORNERS"):
        FasterRCNNROIPooler(7, [1 / 16], 0, "ROIAlignV2")
    pooled = FasterRCNNROIPooler(2, [1 / 16], 0, "ROIAlignV2", inclusive_corners=False)(
        [torch.ones(1, 1, 8, 8)], [Boxes(torch.tensor([[16.0, 16.0, 64.0, 64.0]]))]
    )
    assert torch.equal(pooled, torch.ones(1, 1, 2, 2))
