"""Sampled regions keep the graph of their proposals, and targets are constants or not (SPEC 7.2, points 3 and 4)."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from oracles.fast_rcnn_losses import fast_rcnn_losses
from oracles.roi_warp import finite_differences
from region_scenes import CHANNELS, NUM_CLASSES, make_objects, make_proposals, preset_config, preset_roi_heads

OBJECTS = make_objects([[4, 4, 24, 24], [28, 10, 44, 38]], [0, 2])
BOXES = [[5, 5, 24, 25], [27, 9, 44, 36], [0, 0, 9, 40], [30, 2, 40, 20], [2, 20, 46, 30], [3, 3, 22, 24]]
UNIT = ["MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed", "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0)]
WARP = ["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIWarp", "MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS", False]


def make_heads(*keys, preset="pyfrcnn"):
    cfg = preset_config(preset)
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.0
    cfg.merge_from_list([*WARP, "MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS", False, *keys])
    return preset_roi_heads(cfg).train()


def proposals_with_graph(boxes=BOXES):
    """Proposals of an image, and the leaf that their boxes are twice of."""
    leaf = (torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) / 2).requires_grad_()
    proposals = make_proposals(boxes)
    proposals.proposal_boxes = Boxes(leaf * 2)
    return proposals, leaf


def sample(heads, proposals, targets, seed=3):
    torch.manual_seed(seed)
    with EventStorage():
        return heads.label_and_sample_proposals(proposals, targets)


def fields_of(image):
    return {name: getattr(value, "tensor", value).detach() for name, value in sorted(image.get_fields().items())}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("append_gt", [True, False])
def test_sampling_is_that_without_a_graph(seed, append_gt):
    heads = make_heads("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 5, "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", append_gt)
    expected = sample(heads, [make_proposals(BOXES)] * 2, [OBJECTS, OBJECTS[:1]], seed)
    sampled = sample(heads, [proposals_with_graph()[0] for _ in range(2)], [OBJECTS, OBJECTS[:1]], seed)
    for image, image_expected in zip(sampled, expected):
        assert 2 <= len(image) <= 5
        actual, wanted = fields_of(image), fields_of(image_expected)
        assert list(actual) == list(wanted)
        assert all(torch.equal(actual[name], wanted[name]) for name in wanted)


def test_each_region_passes_its_gradient_to_its_own_proposal_and_objects_pass_none():
    heads = make_heads()  # 64 regions: all of them
    proposals, leaves = zip(*(proposals_with_graph(boxes) for boxes in (BOXES, BOXES[2:5])))
    sampled = sample(heads, list(proposals), [OBJECTS, OBJECTS[1:]])
    assert [len(image) for image in sampled] == [6 + 2, 3 + 1]
    for image, leaf in zip(sampled, leaves):
        boxes, times = image.proposal_boxes.tensor, torch.zeros(len(leaf))
        for region in boxes:
            (gradient,) = torch.autograd.grad(region.sum(), leaf, retain_graph=True)
            is_object = any(torch.equal(region, gt) for gt in OBJECTS.gt_boxes.tensor)
            moved = gradient.any(dim=1)
            assert int(moved.sum()) == (0 if is_object else 1)
            times += moved
            if not is_object:
                assert torch.equal(2 * leaf[moved][0], region) and (gradient[moved] == 2).all()
        assert (times == 1).all()


def test_what_was_given_is_not_changed():
    proposals, _ = proposals_with_graph()
    fields = set(proposals.get_fields()), set(OBJECTS.get_fields())
    sample(make_heads(), [proposals], [OBJECTS])
    assert (set(proposals.get_fields()), set(OBJECTS.get_fields())) == fields
    assert len(proposals) == len(BOXES)


def test_images_without_proposals_or_without_objects():
    heads = make_heads()
    empty, _ = proposals_with_graph([])
    full, leaf = proposals_with_graph()
    no_objects = make_objects([], [])
    sampled = sample(heads, [empty, full], [OBJECTS, no_objects])
    assert [len(image) for image in sampled] == [2, 6]
    sampled[1].proposal_boxes.tensor.sum().backward()
    assert (leaf.grad == 2).all()
    (nothing,) = sample(heads, [proposals_with_graph([])[0]], [no_objects])
    assert len(nothing) == 0


def forward(heads):
    """Losses of two images, and the leaves of their proposals."""
    torch.manual_seed(0)
    features = {name: torch.randn(2, CHANNELS, 3, 3) for name in heads.box_in_features}
    proposals, leaves = zip(*(proposals_with_graph(boxes) for boxes in (BOXES, BOXES[1:5])))
    with EventStorage():
        _, losses = heads(None, features, list(proposals), [OBJECTS, OBJECTS[1:]])
    return losses, leaves


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
def test_gradient_reaches_the_proposals_through_the_pooled_features(preset):
    losses, leaves = forward(make_heads(preset=preset))
    for loss in losses.values():
        for gradient in torch.autograd.grad(loss, leaves, retain_graph=True):
            assert gradient.abs().sum() > 0


def test_max_pooled_regions_pass_none():
    losses, leaves = forward(make_heads("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"))
    assert torch.autograd.grad(sum(losses.values()), leaves, allow_unused=True) == (None, None)


REGIONS = np.array([[5.0, 5, 24, 26], [27, 9, 43, 36], [0, 0, 9, 40], [6, 2, 22, 24]])
MATCHED = np.array([[4.0, 4, 24, 24], [28, 10, 44, 38], [28, 10, 44, 38], [4, 4, 24, 24]])
LABELS = [0, 2, NUM_CLASSES, 0]


def losses_of_regions(detach, preset, agnostic):
    """The losses, the regions they are a function of, and that function by the oracle; regions of two images."""
    keys = ["MODEL.ROI_BOX_HEAD.DETACH_TARGETS", detach, "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", agnostic]
    heads = make_heads(*keys, *(UNIT if preset == "pyfrcnn" else []), preset=preset)
    rows, random = 1 if agnostic else NUM_CLASSES, np.random.RandomState(1)
    mean, std = np.zeros((rows, 4)), np.ones((rows, 4))
    if preset == "paper":
        mean, std = random.randn(rows, 4) * 0.1, random.rand(rows, 4) * 0.4 + 0.1
        heads.set_box_statistics(mean, std)
    heads.box_predictor.loss_weight = {"loss_box_reg": 3.0}
    deltas, scores = random.randn(4, 4 * rows), random.randn(4, NUM_CLASSES + 1)
    regions = torch.tensor(REGIONS, dtype=torch.float32, requires_grad=True)
    images = []
    for part in (slice(0, 3), slice(3, 4)):
        image = make_proposals(REGIONS[part])
        image.proposal_boxes = Boxes(regions[part])
        image.gt_boxes, image.gt_classes = Boxes(torch.tensor(MATCHED[part]).float()), torch.tensor(LABELS[part])
        images.append(image)
    with EventStorage():
        losses = heads.box_predictor.losses((torch.tensor(scores).float(), torch.tensor(deltas).float()), images)
    return losses, regions, lambda boxes: fast_rcnn_losses(scores, deltas, boxes, MATCHED, LABELS, mean, std)


def assert_losses_are_the_oracles(losses, oracle):
    classification, regression = oracle(REGIONS)
    assert losses["loss_box_reg"].item() == pytest.approx(3 * regression, rel=1e-4)
    assert losses["loss_cls"].item() == pytest.approx(classification, rel=1e-4)


CASES = [("pyfrcnn", False), ("pyfrcnn", True), ("paper", False)]


@pytest.mark.parametrize("preset, agnostic", CASES)
def test_targets_that_are_not_detached_have_the_oracles_slope(preset, agnostic):
    """Predictions are constants here, so that all of the gradient is that of the targets."""
    losses, regions, oracle = losses_of_regions(False, preset, agnostic)
    assert_losses_are_the_oracles(losses, oracle)
    assert not losses["loss_cls"].requires_grad
    losses["loss_box_reg"].backward()
    slope = finite_differences(lambda boxes: 3 * oracle(boxes)[1], REGIONS, 1e-5)
    assert (np.abs(slope[[0, 1, 3]]).max(axis=1) > 1e-3).all() and not slope[2].any()  # background has no target
    np.testing.assert_allclose(regions.grad.numpy(), slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("preset, agnostic", CASES)
def test_detached_targets_are_constants_and_the_losses_the_same(preset, agnostic):
    losses, _, oracle = losses_of_regions(True, preset, agnostic)
    assert_losses_are_the_oracles(losses, oracle)
    assert not losses["loss_box_reg"].requires_grad and not losses["loss_cls"].requires_grad


def test_images_without_objects_have_losses_too():
    """There detectron2's regions have no gt_boxes."""
    for detach in (True, False):
        heads = make_heads("MODEL.ROI_BOX_HEAD.DETACH_TARGETS", detach)
        features = {name: torch.randn(2, CHANNELS, 3, 3) for name in heads.box_in_features}
        proposals, leaves = zip(proposals_with_graph(), proposals_with_graph())
        with EventStorage():
            _, losses = heads(None, features, list(proposals), [OBJECTS, make_objects([], [])])
        sum(losses.values()).backward()
        assert all(torch.isfinite(leaf.grad).all() and leaf.grad.any() for leaf in leaves)
