"""RoI warping against the rule place by place (SPEC 7.2): values, frame, levels, images, precision."""

from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler, ROIWarp

import numpy as np
import pytest
import torch
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.roi_warp import places, roi_warp


def warp(feature, boxes, bins, stride=16):
    pooler = FasterRCNNROIPooler(bins, [1 / stride], 0, "ROIWarp", inclusive_corners=False)
    boxes = [Boxes(torch.tensor(boxes, dtype=torch.float32))]
    return pooler([torch.from_numpy(feature[None])], boxes).numpy()


def assert_warped_by_the_rule(feature, boxes, bins, stride=16):
    warped = warp(feature, boxes, bins, stride)
    assert warped.shape == (len(boxes), len(feature), bins, bins)
    for box, values in zip(np.asarray(boxes, np.float32), warped):
        np.testing.assert_allclose(values, roi_warp(feature, box, bins, stride), rtol=1e-4, atol=2e-4, err_msg=str(box))


@pytest.mark.parametrize("bins", [6, 7])
@given(
    seed=st.integers(0, 10**6),
    quarters=st.lists(st.tuples(*[st.integers(-200, 1000)] * 2, *[st.integers(0, 900)] * 2), min_size=1, max_size=2),
)
def test_random_boxes(bins, seed, quarters):
    """Corners in quarters of a pixel; boxes without area, and beyond the map."""
    feature = np.random.RandomState(seed).randn(2, 12, 13).astype(np.float32)
    assert_warped_by_the_rule(feature, [[x / 4, y / 4, (x + w) / 4, (y + h) / 4] for x, y, w, h in quarters], bins)


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 1, 1],  # one pixel in the corner
        [0, 0, 240, 192],  # the whole map, flush with all edges
        [239, 191, 240, 192],  # one pixel at the right bottom
        [0, 50, 300, 60],  # beyond the right edge
        [-40, -40, -20, -20],  # outside
        [7.5, 7.5, 9, 9],
        [40, 50, 40, 50],  # no area
    ],
)
@pytest.mark.parametrize("size", [(12, 15), (1, 1), (2, 1)])
def test_corner_cases(box, size):
    feature = np.random.RandomState(0).randn(2, *size).astype(np.float32)
    for bins in (6, 7):
        assert_warped_by_the_rule(feature, [box], bins)


@pytest.mark.parametrize("bins, samples", [(6, 12), (7, 14)])
def test_twelve_places_a_side_become_six_bins_and_fourteen_seven(bins, samples):
    """On a map that rises to the right, a bin is the right one of the two places in it; corners are not rounded."""
    rising = np.tile(np.arange(20, dtype=np.float32), (1, 20, 1))
    box = [19.3, 30.0, 260.9, 250.0]
    expected = places(box[0], box[2], samples, 16)[1::2]
    assert len(expected) == bins and box[0] / 16 < expected[0] and expected[-1] < box[2] / 16
    for row in warp(rising, [box], bins)[0, 0]:
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_frame_is_that_of_roi_max_pooling_with_inclusive_corners():
    """The box of the one pixel 16 i is sampled in cell i itself, as a max pooling of it takes cell i."""
    feature = np.random.RandomState(0).randn(3, 9, 9).astype(np.float32)
    for i in range(9):
        box = [[16 * i, 16 * i, 16 * i + 1, 16 * i + 1]]
        max_pooled = FasterRCNNROIPooler(1, [1 / 16])([torch.from_numpy(feature[None])], [Boxes(torch.tensor(box))])
        np.testing.assert_array_equal(max_pooled.numpy()[0, :, 0, 0], feature[:, i, i])
        pixel_middle = [[16 * i + 0.5] * 4]
        np.testing.assert_allclose(warp(feature, pixel_middle, 1)[0, :, 0, 0], feature[:, i, i], atol=1e-5)


@given(seed=st.integers(0, 10**6))
def test_mirrored_box_of_a_mirrored_map_gives_mirrored_features(seed):
    """The middle of cell i is 16 i + 0.5, so that 16 (cells - 1) + 1 pixels are mirrored."""
    random = np.random.RandomState(seed)
    feature = random.randn(2, 7, 8).astype(np.float32)
    x1, x2 = np.sort(random.rand(2)) * 113
    box, mirrored = [x1, 5.0, x2, 90.0], [113 - x2, 5.0, 113 - x1, 90.0]
    actual = warp(np.ascontiguousarray(feature[:, :, ::-1]), [mirrored], 6)
    np.testing.assert_allclose(actual[0, :, :, ::-1], warp(feature, [box], 6)[0], atol=1e-4)


def test_images_keep_their_own_regions_in_any_order():
    torch.manual_seed(0)
    features = torch.randn(3, 2, 6, 7)
    rois = torch.tensor([[2, 3, 4, 50, 60], [0, 10, 0, 90, 30], [2, 0, 0, 16, 16], [0, 3, 4, 50, 60]])
    pooled = ROIWarp(6, 1 / 16)(features, rois.float())
    for row, values in zip(rois.tolist(), pooled.numpy()):
        np.testing.assert_allclose(values, roi_warp(features[row[0]].numpy(), row[1:], 6), atol=1e-4)


def test_bins_need_not_be_square():
    roi = torch.tensor([[0.0, 3.0, 4.0, 70.0, 60.0]])
    for rising, side, count in (
        (torch.arange(7.0).expand(1, 1, 6, 7), (3.0, 70.0), 12),
        (torch.arange(6.0)[:, None].expand(1, 1, 6, 7), (4.0, 60.0), 4),
    ):
        pooled = ROIWarp((2, 6), 1 / 16)(rising, roi)[0, 0]
        assert pooled.shape == (2, 6)
        along = pooled[0] if count == 12 else pooled[:, 0]
        np.testing.assert_allclose(along, places(*side, count, 16)[1::2], atol=1e-4)


def test_levels_of_a_pyramid_are_chosen_by_size():
    random = np.random.RandomState(0)
    maps = [random.rand(1, 32, 32).astype(np.float32), random.rand(1, 16, 16).astype(np.float32) + 10]
    boxes = torch.tensor([[0.0, 0, 112, 112], [0, 0, 111, 111], [3, 3, 3.4, 3.4], [0, 0, 250, 250]])
    options = {"inclusive_corners": False, "canonical_box_size": 112, "canonical_level": 4}
    pooler = FasterRCNNROIPooler(3, [1 / 8, 1 / 16], 0, "ROIWarp", **options)
    leaf = boxes.clone().requires_grad_()
    pooled = pooler([torch.from_numpy(m[None]) for m in maps], [Boxes(leaf)])
    levels = assign_boxes_to_levels([Boxes(boxes)], 3, 4, 112, 4).tolist()
    assert levels == [1, 0, 0, 1]
    for box, level, values in zip(boxes.numpy(), levels, pooled.detach().numpy()):
        np.testing.assert_allclose(values, roi_warp(maps[level], box, 3, 8 * 2**level), atol=1e-4)
    pooled.sum().backward()
    assert (leaf.grad != 0).any(dim=1).all()


def test_no_regions_at_all():
    feature = torch.randn(2, 5, 4, 4, requires_grad=True)
    pooler = FasterRCNNROIPooler(7, [1 / 16], 0, "ROIWarp", inclusive_corners=False)
    pooled = pooler([feature], [Boxes(torch.zeros(0, 4))] * 2)
    assert tuple(pooled.shape) == (0, 5, 7, 7)
    pooled.sum().backward()
    assert torch.equal(feature.grad, torch.zeros_like(feature))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_another_precision(dtype):
    """As under automatic mixed precision: places are those of single precision, values are rounded at the end."""
    torch.manual_seed(0)
    feature = torch.randn(1, 2, 20, 60, dtype=dtype)
    boxes = [Boxes(torch.tensor([[0.0, 0.0, 937.0, 313.0], [7.9, 8.1, 103.5, 105.0]]))]
    pooler = FasterRCNNROIPooler(6, [1 / 16], 0, "ROIWarp", inclusive_corners=False)
    pooled = pooler([feature], boxes)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), pooler([feature.float()], boxes).to(dtype).float(), atol=1e-5, rtol=1e-5)


def test_pixels_are_not_taken_off_its_corners():
    with pytest.raises(ValueError, match="POOLER_TYPE is ROIWarp, but POOLER_INCLUSIVE_CORNERS"):
        FasterRCNNROIPooler(7, [1 / 16], 0, "ROIWarp")
