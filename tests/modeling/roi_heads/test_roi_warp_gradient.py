"""Derivatives of RoI warping in features and corners, and what it keeps in memory for them (SPEC 7.2)."""

from frcnn_alt.modeling.roi_heads import FasterRCNNROIPooler, ROIWarp

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from oracles.roi_warp import finite_differences, places, roi_warp

SIZE = (7, 8)  # cells


def away_from_cell_borders(box, bins, margin=0.01):
    """Whether every place of a box is at least `margin` cells from where two cells meet."""
    coordinates = np.array(places(box[0], box[2], 2 * bins, 16) + places(box[1], box[3], 2 * bins, 16))
    return (np.abs(coordinates - np.round(coordinates)) > margin).all()


def boxes_away_from_cell_borders(bins, count):
    random, boxes = np.random.RandomState(4), []
    while len(boxes) < count:
        x, y = np.sort(random.rand(2)) * 112, np.sort(random.rand(2)) * 96
        box = [x[0], y[0], x[1], y[1]]
        if away_from_cell_borders(box, bins):
            boxes.append(box)
    return np.array(boxes)


@pytest.mark.parametrize("bins", [3, 6, 7])
def test_gradcheck_in_double_precision(bins):
    """torch's own check of features and corners, away from cell borders, where the derivative jumps."""
    torch.manual_seed(bins)
    features = torch.randn(2, 2, *SIZE, dtype=torch.float64, requires_grad=True)
    corners = torch.from_numpy(boxes_away_from_cell_borders(bins, 3)).requires_grad_()
    images = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    pool = ROIWarp(bins, 1 / 16)
    assert torch.autograd.gradcheck(
        lambda features, corners: pool(features, torch.cat([images, corners], dim=1)), (features, corners), eps=1e-5
    )


@pytest.mark.parametrize("bins", [6, 7])
def test_gradient_of_the_corners_is_the_oracles_slope(bins):
    random = np.random.RandomState(bins)
    feature = random.randn(3, *SIZE)
    upstream = random.randn(3, bins, bins)
    for box in boxes_away_from_cell_borders(bins, 4):
        corners = torch.from_numpy(box[None]).requires_grad_()
        pooled = ROIWarp(bins, 1 / 16)(
            torch.from_numpy(feature[None]), torch.cat([corners.new_zeros(1, 1), corners], 1)
        )
        (pooled[0] * torch.from_numpy(upstream)).sum().backward()
        slope = finite_differences(lambda b: (roi_warp(feature, b, bins) * upstream).sum(), box, 1e-5)
        assert np.abs(slope).min() > 1e-4
        np.testing.assert_allclose(corners.grad[0].numpy(), slope, rtol=1e-5, atol=1e-7)


def test_corners_are_not_rounded_before_the_slope_is_taken():
    """On a map whose value is the feature coordinate, moving a whole box one pixel adds 1 / 16 to every bin."""
    rising = torch.arange(8.0).expand(1, 1, 7, 8)
    corners = torch.tensor([[20.3, 20.0, 70.9, 60.0]], requires_grad=True)
    pooled = ROIWarp(6, 1 / 16)(rising, torch.cat([torch.zeros(1, 1), corners], dim=1))
    pooled.mean().backward()
    gradient = corners.grad[0]
    assert (gradient[0] + gradient[2]).item() == pytest.approx(1 / 16, rel=1e-4)
    assert gradient[1].item() == gradient[3].item() == 0
    # A bin is its right place: on average half a share, 1 / 24 of the side, right of the middle.
    assert gradient[2].item() == pytest.approx((0.5 + 1 / 24) / 16, rel=1e-4)


def test_beyond_the_outermost_cells_nothing_slopes():
    corners = torch.tensor([[150.0, 130.0, 170.0, 150.0]], requires_grad=True)
    feature = torch.randn(1, 2, *SIZE, requires_grad=True)
    ROIWarp(6, 1 / 16)(feature, torch.cat([torch.zeros(1, 1), corners], dim=1)).sum().backward()
    assert torch.equal(corners.grad, torch.zeros(1, 4))
    assert feature.grad[..., -1, -1].tolist() == [[36.0, 36.0]] and feature.grad.sum() == 72


@pytest.mark.parametrize("pooler_type", ["ROIPool", "ROIAlign", "ROIAlignV2"])
def test_other_poolings_give_boxes_no_gradient(pooler_type):
    boxes = torch.tensor([[10.0, 12.0, 80.0, 70.0]], requires_grad=True)
    feature = torch.randn(1, 2, *SIZE, requires_grad=True)
    for name, gets_one in ((pooler_type, False), ("ROIWarp", True)):
        pooler = FasterRCNNROIPooler(6, [1 / 16], 0, name, inclusive_corners=False)
        boxes.grad = None
        pooler([feature], [Boxes(boxes)]).square().sum().backward()
        assert (boxes.grad is not None and boxes.grad.abs().sum() > 0) == gets_one


def kept_bytes(cells, regions, channels=3, bins=6):
    """Bytes that the graph of a warp keeps, each storage once; the map itself is one of them."""
    torch.manual_seed(0)
    feature = torch.randn(1, channels, *cells, requires_grad=True)
    corners = (torch.rand(regions, 2, 2).sort(dim=1).values * 100).flatten(1).requires_grad_()
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor too, so that no address is used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ROIWarp(bins, 1 / 16)(feature, torch.cat([torch.zeros(regions, 1), corners], dim=1)).sum()
    map_bytes = feature.untyped_storage().nbytes()
    return sum(size for size, _ in kept.values()), map_bytes


def test_memory_does_not_grow_with_regions_times_cells():
    """What more regions cost is the same on a map of 400 times as many cells; one map is kept, not one a region."""
    small, small_map = kept_bytes((5, 5), 10)
    large, large_map = kept_bytes((100, 100), 10)
    assert large - small == large_map - small_map
    for cells in ((5, 5), (100, 100)):
        more = kept_bytes(cells, 110)[0] - kept_bytes(cells, 10)[0]
        assert more == kept_bytes((5, 5), 110)[0] - small
        # 144 places of 3 channels and two coordinates, 36 bins of 3 channels (values and 8-byte indices), some vectors.
        assert more <= 100 * 4 * (144 * (3 + 2) + 36 * 3 * 3 + 100)
