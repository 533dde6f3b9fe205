"""Both losses of the detector and their gradients, against the rule (SPEC 5.3)."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from hypothesis import given
from hypothesis import strategies as st
from oracles.fast_rcnn_boxes import encode
from oracles.fast_rcnn_losses import fast_rcnn_losses
from region_scenes import NUM_CLASSES, preset_config, preset_roi_heads

K = NUM_CLASSES


def predictor_of(preset, **box_head):
    cfg = preset_config(preset)
    cfg.MODEL.ROI_BOX_HEAD.update(box_head)
    return preset_roi_heads(cfg).box_predictor


PREDICTORS = {
    (preset, agnostic): predictor_of(preset, CLS_AGNOSTIC_BBOX_REG=agnostic)
    for preset in ("paper", "pyfrcnn")
    for agnostic in (False, True)
}


def statistics(random, rows):
    """mean and std (rows, 4) that single precision holds exactly."""
    mean, std = random.randn(rows, 4) * 0.1, random.rand(rows, 4) * 0.4 + 0.1
    return mean.astype(np.float32).astype(np.float64), std.astype(np.float32).astype(np.float64)


def random_regions(random, count):
    corners = random.rand(count, 2) * 100
    boxes = np.concatenate([corners, corners + 10 + random.rand(count, 2) * 80], axis=1)
    return boxes.astype(np.float32).astype(np.float64)


def regions_of_images(boxes, objects, labels, split):
    """Instances of two images, the first with `split` regions."""
    images = []
    for part in (slice(0, split), slice(split, len(labels))):
        regions = Instances((200, 220))
        regions.proposal_boxes = Boxes(torch.from_numpy(boxes[part]).float())
        regions.gt_boxes = Boxes(torch.from_numpy(objects[part]).float())
        regions.gt_classes = torch.as_tensor(np.asarray(labels[part], dtype=np.int64))
        images.append(regions)
    return images


def losses_of(predictor, scores, deltas, images):
    with EventStorage():
        losses = predictor.losses((scores, deltas), images)
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    return losses["loss_cls"], losses["loss_box_reg"]


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
@pytest.mark.parametrize("agnostic", [False, True])
@given(
    labels=st.lists(st.integers(0, K), min_size=1, max_size=12), seed=st.integers(0, 10**6), split=st.integers(0, 12)
)
def test_losses_and_gradients(preset, agnostic, labels, seed, split):
    """The gradients are those of finite differences: only the columns of a foreground region's class have any."""
    random = np.random.RandomState(seed)
    rows = 1 if agnostic else K
    mean, std = statistics(random, rows)
    predictor = PREDICTORS[preset, agnostic]
    predictor.box2box_transform.set_statistics(mean, std)
    boxes = random_regions(random, len(labels))
    objects = (boxes + random.randn(*boxes.shape)).astype(np.float32).astype(np.float64)
    scores, deltas = random.randn(len(labels), K + 1) * 3, random.randn(len(labels), 4 * rows) * 1.5

    leaves = [torch.from_numpy(value).requires_grad_() for value in (scores, deltas)]
    classification, regression = losses_of(predictor, *leaves, regions_of_images(boxes, objects, labels, split))
    expected = fast_rcnn_losses(scores, deltas, boxes, objects, labels, mean, std)
    assert classification.item() == pytest.approx(expected[0], rel=1e-5)
    assert regression.item() == pytest.approx(expected[1], rel=1e-4, abs=1e-5)

    (classification + regression).backward()
    step = 1e-4
    for which, (values, leaf) in enumerate(zip((scores, deltas), leaves)):
        for index in [(row, column) for row in range(min(len(labels), 2)) for column in range(values.shape[1])]:
            around = []
            for sign in (1, -1):
                moved = values.copy()
                moved[index] += sign * step
                inputs = (moved, deltas) if which == 0 else (scores, moved)
                around.append(sum(fast_rcnn_losses(*inputs, boxes, objects, labels, mean, std)))
            difference = (around[0] - around[1]) / (2 * step)
            assert leaf.grad[index].item() == pytest.approx(difference, abs=2e-4 / len(labels) + 1e-6)


@pytest.mark.parametrize("labels", [[K, K, K], [0, K, K], [0, K, K, K, K, K, K, K]])
def test_regression_is_divided_by_all_regions(labels):
    """One foreground region whose four deltas are off by 2: 4 * (2 - 0.5) over the regions, none for background."""
    predictor = PREDICTORS["paper", False]
    predictor.box2box_transform.set_statistics(np.zeros((K, 4)), np.ones((K, 4)))
    boxes = random_regions(np.random.RandomState(0), len(labels))
    deltas = torch.full((len(labels), 4 * K), 2.0)
    scores = torch.zeros(len(labels), K + 1)
    classification, regression = losses_of(predictor, scores, deltas, regions_of_images(boxes, boxes, labels, 1))
    assert regression.item() == pytest.approx(6.0 * labels.count(0) / len(labels), rel=1e-5)
    assert classification.item() == pytest.approx(np.log(K + 1), rel=1e-5)


@pytest.mark.parametrize("off, loss", [(0.0, 0.0), (0.5, 0.125), (1.0, 0.5), (1.5, 1.0), (-1.5, 1.0), (-3.0, 2.5)])
def test_smooth_l1_has_its_knee_at_1(off, loss):
    predictor = PREDICTORS["pyfrcnn", False]
    predictor.box2box_transform.set_statistics(np.zeros((K, 4)), np.ones((K, 4)))
    boxes = random_regions(np.random.RandomState(0), 1)
    deltas = torch.zeros(1, 4 * K)
    deltas[0, 4 + 1] = off  # dy of class 1
    _, regression = losses_of(predictor, torch.zeros(1, K + 1), deltas, regions_of_images(boxes, boxes, [1], 1))
    assert regression.item() == pytest.approx(loss, abs=1e-6)


def test_columns_are_those_of_the_class():
    """Deltas that are right in the columns of each region's class and wrong in all others cost nothing."""
    predictor = PREDICTORS["paper", False]
    random = np.random.RandomState(0)
    mean, std = statistics(random, K)
    predictor.box2box_transform.set_statistics(mean, std)
    labels = [2, 0, K, 1]
    boxes = random_regions(random, len(labels))
    objects = boxes + random.randn(*boxes.shape)
    deltas = np.full((len(labels), 4 * K), 50.0)
    for region, label in enumerate(labels):
        if label < K:
            wanted = (np.array(encode(boxes[region], objects[region])) - mean[label]) / std[label]
            deltas[region, 4 * label : 4 * label + 4] = wanted
    images = regions_of_images(boxes, objects, labels, 2)
    _, regression = losses_of(predictor, torch.zeros(len(labels), K + 1), torch.from_numpy(deltas), images)
    assert regression.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
def test_no_regions_cost_nothing(preset):
    scores, deltas = torch.zeros(0, K + 1, requires_grad=True), torch.zeros(0, 4 * K, requires_grad=True)
    nothing = regions_of_images(np.zeros((0, 4)), np.zeros((0, 4)), [], 0)
    classification, regression = losses_of(PREDICTORS[preset, False], scores, deltas, nothing)
    assert classification.item() == regression.item() == 0
    (classification + regression).backward()
