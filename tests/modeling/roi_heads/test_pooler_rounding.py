"""MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS: whole network pixels before the division by the stride (SPEC 5.1)."""

import itertools

from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.box_coding import decode_pyfrcnn
from oracles.roi_max_pooling import cells_of, roi_max_pool, round_half_away
from region_scenes import CHANNELS, preset_config, preset_roi_heads

HEIGHT, WIDTH = 9, 11  # cells

# Quarters: corners on whole pixels and between them, exact halves, beyond each edge, boxes of a pixel and less.
quarters = st.integers(-120, 200 * 4).map(lambda n: n / 4)
box_sides = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 160 * 4).map(lambda n: n / 4))
boxes = st.tuples(quarters, quarters, box_sides, box_sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def pool(feature, regions, bins, stride, **corners):
    pooler = FasterRCNNROIPooler(bins, [1 / stride], **corners)
    return pooler([torch.tensor(feature[None])], [Boxes(torch.tensor(regions, dtype=torch.float32).reshape(-1, 4))])


@pytest.mark.parametrize("bins, stride", [(6, 16), (7, 16), (3, 2)])
@pytest.mark.parametrize("rounded", [True, False])
@given(regions=st.lists(boxes, min_size=1, max_size=3))
def test_agrees_with_a_cell_by_cell_computation(rounded, bins, stride, regions):
    """At stride 2 the way halves are rounded shows; at 16 half away and half to even lead to the same cells."""
    regions = np.array(regions) * (stride / 16)  # onto the same map; 32nds are exact too
    feature = np.random.default_rng(0).normal(size=(1, HEIGHT, WIDTH)).astype(np.float32)
    pooled = pool(feature, regions, bins, stride, round_corners=rounded).numpy()
    for region, values in zip(regions, pooled):
        expected, _ = roi_max_pool(feature, region, bins, stride, round_corners=rounded)
        np.testing.assert_array_equal(values, expected, str(region))


@pytest.mark.parametrize(
    "x2, rounded, unrounded",
    [
        (8.49, 0, 0),  # last pixel 7.49 -> 7
        (8.5, 1, 0),  # 7.5 -> 8 -> half a cell -> 1
        (9.0, 1, 1),  # 8
        (24.25, 1, 1),  # 23.25 -> 23
        (24.75, 2, 1),  # 23.75 -> 24
    ],
)
def test_a_corner_that_rounds_into_the_next_cell(x2, rounded, unrounded):
    feature = np.tile(np.arange(12, dtype=np.float32), (1, 12, 1))
    for round_corners, cell in ((True, rounded), (False, unrounded)):
        assert pool(feature, [[0, 0, x2, 4]], 1, 16, round_corners=round_corners).item() == cell


@pytest.mark.parametrize("value, whole", [(0.5, 1), (1.5, 2), (2.5, 3), (0.49999997, 0), (3.4999998, 3)])
def test_halves_go_up(value, whole):
    """At stride 1 a cell is a pixel: a box whose first pixel is `value` begins at the cell that this is rounded to."""
    value = np.float32(value).item()
    assert round_half_away(value) == whole
    falling = np.tile(np.arange(9.0, 0.0, -1.0, dtype=np.float32), (1, 9, 1))
    assert pool(falling, [[value, 0, 9, 9]], 1, 1, round_corners=True).item() == 9 - whole


@pytest.mark.parametrize("value, outside", [(-0.5, 1), (-1.5, 2), (-2.5, 3), (-0.25, 0)])
def test_halves_of_negative_corners_go_down(value, outside):
    """A bin a cell: those outside of the map are empty."""
    assert round_half_away(value) == -outside
    growing = np.tile(np.arange(1.0, 10.0, dtype=np.float32), (1, 9, 1))
    pooled = pool(growing, [[value, 0, 4, 1]], 4 + outside, 1, round_corners=True)[0, 0, 0]
    assert pooled.tolist() == [0.0] * outside + [1.0, 2.0, 3.0, 4.0]


@given(anchor=boxes.filter(lambda b: b[2] - b[0] >= 1 and b[3] - b[1] >= 1))
def test_pyfrcnns_larger_boxes_and_inclusive_corners_are_what_pyfrcnn_pools(anchor):
    """It hands the formula the box it decodes, whose x2 it takes for the last pixel; nothing is rounded (SPEC 5.1)."""
    x1, y1, x2, y2 = anchor
    theirs = decode_pyfrcnn((x1, y1, x2 - 1, y2 - 1), (0, 0, 0, 0))
    ours = (x1, y1, x2 + 1, y2 + 1)  # MODEL.BBOX_DECODING "one_pixel_larger", continuous
    assert cells_of(ours, 16, inclusive_corners=True) == cells_of(theirs, 16, inclusive_corners=False)


def test_no_regions_and_levels():
    maps = [np.random.default_rng(n).normal(size=(1, 12, 12)).astype(np.float32) for n in range(2)]
    options = {"canonical_box_size": 32, "canonical_level": 4, "round_corners": True}
    pooler = FasterRCNNROIPooler(3, [1 / 8, 1 / 16], **options)
    regions = np.array([[0.3, 0.6, 20.5, 20.7], [3.5, 7.5, 100.5, 120.5]])  # the smaller one on the finer map
    pooled = pooler([torch.tensor(m[None]) for m in maps], [Boxes(torch.tensor(regions, dtype=torch.float32))]).numpy()
    for level, (region, values) in enumerate(zip(regions, pooled)):
        expected, _ = roi_max_pool(maps[level], region, 3, 8 * 2**level, round_corners=True)
        np.testing.assert_array_equal(values, expected)
    empty = pooler([torch.tensor(m[None]) for m in maps], [Boxes(torch.zeros(0, 4))])
    assert tuple(empty.shape) == (0, 1, 3, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_round_corners_in_single_precision(dtype):
    feature = torch.arange(12.0).to(dtype).expand(1, 1, 12, 12)
    box = [Boxes(torch.tensor([[0.0, 0.0, 136.5, 8.0]]))]  # last pixel 135.5 -> 136 -> cell 9; bfloat16 has no 135.5
    assert FasterRCNNROIPooler(1, [1 / 16], round_corners=True)([feature], box).item() == 9
    assert FasterRCNNROIPooler(1, [1 / 16], round_corners=False)([feature], box).item() == 8


def test_combinations_that_make_no_sense():
    for inclusive, rounded in itertools.product([True, False], repeat=2):
        if rounded and not inclusive:
            with pytest.raises(ValueError, match="POOLER_ROUND_CORNERS rounds inclusive corners"):
                FasterRCNNROIPooler(7, [1 / 16], inclusive_corners=inclusive, round_corners=rounded)
        else:
            FasterRCNNROIPooler(7, [1 / 16], inclusive_corners=inclusive, round_corners=rounded)
    with pytest.raises(ValueError, match="POOLER_TYPE is ROIAlign, but POOLER_ROUND_CORNERS"):
        FasterRCNNROIPooler(7, [1 / 16], 0, "ROIAlign", inclusive_corners=False, round_corners=True)


@pytest.mark.parametrize("preset, cell", [("paper", 1), ("pyfrcnn", 0)])
def test_the_presets_round_and_do_not_round(preset, cell):
    heads = preset_roi_heads(preset_config(preset))
    feature = torch.arange(12.0).expand(1, CHANNELS, 12, 12)
    assert heads.box_pooler([feature], [Boxes(torch.tensor([[0.0, 0.0, 8.5, 4.0]]))]).max() == cell
