import frcnn_alt
from frcnn_alt.modeling.box_regression import NormalizedBox2BoxTransform
from frcnn_alt.modeling.roi_heads import FasterRCNNOutputLayers
from frcnn_alt.modeling.roi_heads.fast_rcnn import keep_highest_scores_of_each_class

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

K = 3


def output_layers(rows=K, features=8, **arguments):
    torch.manual_seed(0)
    transform = NormalizedBox2BoxTransform(num_classes=rows)
    transform.set_statistics(torch.randn(rows, 4) * 0.1, torch.rand(rows, 4) * 0.3 + 0.1)
    defaults = {"box2box_transform": transform, "num_classes": K, "smooth_l1_beta": 1.0, "test_topk_per_image": -1}
    layers = FasterRCNNOutputLayers(ShapeSpec(channels=features), **{**defaults, **arguments})
    torch.nn.init.normal_(layers.bbox_pred.weight, std=0.5)
    return layers


def regions(count, seed=0):
    random = np.random.RandomState(seed)
    corners = random.rand(count, 2) * 100
    boxes = np.concatenate([corners, corners + 10 + random.rand(count, 2) * 80], axis=1)
    objects = boxes + random.randn(count, 4)
    proposals = Instances((200, 220))
    proposals.proposal_boxes = Boxes(torch.from_numpy(boxes).float())
    proposals.gt_boxes = Boxes(torch.from_numpy(objects).float())
    proposals.gt_classes = torch.from_numpy(random.randint(0, K + 1, count))
    return proposals


def losses_region_by_region(scores, deltas, proposals, transform, beta=1.0, agnostic=False):
    """SPEC 5.3: cross entropy averaged, smooth L1 summed over coordinates, both over the number of regions."""
    scores, deltas = scores.detach().double().numpy(), deltas.detach().double().numpy()
    classification = regression = 0.0
    for score, delta, box, target, label in zip(
        scores,
        deltas,
        proposals.proposal_boxes.tensor.double().numpy(),
        proposals.gt_boxes.tensor.double().numpy(),
        proposals.gt_classes.tolist(),
    ):
        classification += np.log(np.exp(score).sum()) - score[label]
        if label == K:
            continue
        w, h, u, v = box[2] - box[0], box[3] - box[1], target[2] - target[0], target[3] - target[1]
        dx = (target[0] + target[2] - box[0] - box[2]) / 2 / w
        dy = (target[1] + target[3] - box[1] - box[3]) / 2 / h
        row = 0 if agnostic else label
        mean, std = transform.mean[row].double().numpy(), transform.std[row].double().numpy()
        wanted = (np.array([dx, dy, np.log(u / w), np.log(v / h)]) - mean) / std
        for difference in np.abs(delta[4 * row : 4 * row + 4] - wanted):
            regression += 0.5 * difference**2 / beta if difference < beta else difference - 0.5 * beta
    return classification / len(scores), regression / len(scores)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_losses_agree_with_a_region_by_region_computation(agnostic, beta):
    layers = output_layers(rows=1 if agnostic else K, cls_agnostic_bbox_reg=agnostic, smooth_l1_beta=beta)
    parts = [regions(17, seed=1), regions(9, seed=2)]
    scores, deltas = layers(torch.randn(26, 8))
    assert deltas.shape[1] == (4 if agnostic else 4 * K)
    with EventStorage():
        losses = layers.losses((scores, deltas), parts)
    expected = losses_region_by_region(
        scores, deltas, Instances.cat(parts), layers.box2box_transform, beta, agnostic=agnostic
    )
    assert losses["loss_cls"].item() == pytest.approx(expected[0], rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(expected[1], rel=1e-4)
    assert expected[1] > 0.1


def test_regression_gradient_reaches_only_the_class_of_the_region():
    layers = output_layers()
    proposals = regions(6)
    proposals.gt_classes = torch.tensor([0, 1, 2, 3, 3, 1])
    deltas = torch.zeros(6, 4 * K, requires_grad=True)
    loss = layers.box_reg_loss(proposals.proposal_boxes.tensor, proposals.gt_boxes.tensor, deltas, proposals.gt_classes)
    loss.backward()
    touched = deltas.grad.view(6, K, 4).abs().sum(dim=2) > 0
    expected = torch.zeros(6, K, dtype=torch.bool)
    expected[[0, 1, 2, 5], [0, 1, 2, 1]] = True
    assert torch.equal(touched, expected)


@pytest.mark.parametrize("labels", [[], [K, K]])
def test_without_foreground_the_regression_loss_is_0_and_differentiable(labels):
    layers = output_layers()
    proposals = regions(len(labels))
    proposals.gt_classes = torch.tensor(labels, dtype=torch.int64)
    with EventStorage():
        losses = layers.losses(layers(torch.randn(len(labels), 8)), [proposals])
    sum(losses.values()).backward()
    assert losses["loss_box_reg"].item() == 0
    assert torch.equal(layers.bbox_pred.weight.grad, torch.zeros_like(layers.bbox_pred.weight))
    assert torch.isfinite(losses["loss_cls"])


def test_detections_are_those_of_the_network_with_the_statistics_folded_in():
    """The originals save std * w and std * b + mean instead of w and b; detectron2's own layers then decode."""
    layers = output_layers(test_score_thresh=0.05, test_nms_thresh=0.3).eval()
    folded = FastRCNNOutputLayers(
        ShapeSpec(channels=8),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        num_classes=K,
        test_score_thresh=0.05,
        test_nms_thresh=0.3,
        test_topk_per_image=-1,
    ).eval()
    mean, std = layers.box2box_transform.mean.flatten(), layers.box2box_transform.std.flatten()
    folded.cls_score.load_state_dict(layers.cls_score.state_dict())
    folded.bbox_pred.load_state_dict(
        {"weight": layers.bbox_pred.weight * std[:, None], "bias": layers.bbox_pred.bias * std + mean}
    )
    features, proposals = torch.randn(40, 8), [regions(15, seed=3), regions(25, seed=4)]
    with torch.no_grad():
        actual, _ = layers.inference(layers(features), proposals)
        expected, _ = folded.inference(folded(features), proposals)
    for ours, theirs in zip(actual, expected):
        assert len(theirs) > 0
        torch.testing.assert_close(ours.pred_boxes.tensor, theirs.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(ours.scores, theirs.scores)
        assert torch.equal(ours.pred_classes, theirs.pred_classes)


def test_highest_scores_of_each_class():
    torch.manual_seed(0)
    scores = torch.rand(30, K + 1)
    kept = keep_highest_scores_of_each_class(scores, 7, dropped_score=-1.0)
    assert torch.equal(kept[:, K], scores[:, K])
    for column in range(K):
        best = set(scores[:, column].argsort(descending=True)[:7].tolist())
        for row in range(30):
            assert kept[row, column] == (scores[row, column] if row in best else -1)
    assert torch.equal(keep_highest_scores_of_each_class(scores, 30, -1.0), scores)


@pytest.mark.parametrize("threshold", [0.0, -5.0, 0.3])
def test_limit_applies_before_suppression(threshold):
    layers = output_layers(
        pre_nms_topk_per_class=4, test_score_thresh=threshold, test_nms_thresh=1.0, test_topk_per_image=-1
    ).eval()
    torch.nn.init.normal_(layers.cls_score.weight)
    with torch.no_grad():
        predictions = layers(torch.randn(20, 8))
        (detections,), _ = layers.inference(predictions, [regions(20)])
        scores = layers.predict_probs(predictions, [regions(20)])[0]
    for label in range(K):
        best = scores[:, label].sort(descending=True).values[:4]
        found = detections.scores[detections.pred_classes == label]
        torch.testing.assert_close(found, best[best > threshold])


@pytest.mark.parametrize("limit, found", [(4, 1), (5, 2), (-1, 2)])
def test_suppressed_boxes_use_up_places(limit, found):
    """Four best boxes at one place, the fifth elsewhere: after the limit of 4 only one is left."""
    layers = output_layers(num_classes=1, rows=1, pre_nms_topk_per_class=limit, test_nms_thresh=0.3).eval()
    layers.box2box_transform.set_statistics(torch.zeros(1, 4), torch.ones(1, 4))
    proposals = Instances((100, 100))
    proposals.proposal_boxes = Boxes(torch.tensor([[10.0, 10.0, 40.0, 40.0]] * 4 + [[60.0, 60.0, 90.0, 90.0]]))
    scores = torch.tensor([[4.0, 0.0], [3.5, 0.0], [3.0, 0.0], [2.5, 0.0], [2.0, 0.0]])
    (detections,), _ = layers.inference((scores, torch.zeros(5, 4)), [proposals])
    assert len(detections) == found


def test_limit_of_minus_one_is_detectron2s_inference():
    layers = output_layers().eval()
    with torch.no_grad():
        predictions = layers(torch.randn(20, 8))
        ours, kept = layers.inference(predictions, [regions(20)])
        theirs, expected = FastRCNNOutputLayers.inference(layers, predictions, [regions(20)])
    assert torch.equal(kept[0], expected[0])
    assert torch.equal(ours[0].pred_boxes.tensor, theirs[0].pred_boxes.tensor)
    assert len(ours[0]) > 4


@pytest.mark.parametrize("limit", [100, -1])
def test_no_regions_at_test(limit):
    layers = output_layers(pre_nms_topk_per_class=limit).eval()
    (first, second), _ = layers.inference(layers(torch.randn(3, 8)), [regions(0), regions(3)])
    assert len(first) == 0
    assert len(second) > 0
    (only,), _ = layers.inference(layers(torch.zeros(0, 8)), [regions(0)])
    assert len(only) == 0


def test_new_weights_are_those_of_the_originals():
    torch.manual_seed(0)
    layers = FasterRCNNOutputLayers(
        ShapeSpec(channels=4096), box2box_transform=NormalizedBox2BoxTransform(num_classes=20), num_classes=20
    )
    assert layers.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert layers.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert tuple(layers.cls_score.weight.shape) == (21, 4096)
    assert tuple(layers.bbox_pred.weight.shape) == (80, 4096)
    assert not layers.cls_score.bias.any()
    assert not layers.bbox_pred.bias.any()


def config(**box_head):
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = K
    cfg.MODEL.ROI_BOX_HEAD.update(box_head)
    return cfg


def test_built_from_a_config():
    layers = FasterRCNNOutputLayers(config(BBOX_REG_STATISTICS="per_class"), ShapeSpec(channels=8))
    assert layers.pre_nms_topk_per_class == 100
    assert layers.box2box_transform.weights == (10.0, 10.0, 5.0, 5.0)
    assert {name for name in layers.state_dict() if "transform" in name} == {
        "box2box_transform.mean",
        "box2box_transform.std",
    }
    agnostic = FasterRCNNOutputLayers(config(CLS_AGNOSTIC_BBOX_REG=True), ShapeSpec(channels=8))
    assert tuple(agnostic.box2box_transform.mean.shape) == (1, 4)


def test_fixed_statistics_are_detectron2s_layers():
    cfg = config(BBOX_REG_STATISTICS="fixed", SMOOTH_L1_BETA=1.0)
    ours = FasterRCNNOutputLayers(cfg, ShapeSpec(channels=8))
    theirs = FastRCNNOutputLayers(cfg, ShapeSpec(channels=8))
    ours.load_state_dict(theirs.state_dict())  # strict: no statistics in it
    features, proposals = torch.randn(12, 8), [regions(12)]
    with EventStorage():
        losses = [layers.losses(layers(features), proposals) for layers in (ours, theirs)]
    assert losses[0]["loss_box_reg"].item() > 0
    assert {name: value.item() for name, value in losses[0].items()} == {
        name: value.item() for name, value in losses[1].items()
    }


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='must be "per_class" or "fixed", got "both"'):
        FasterRCNNOutputLayers(config(BBOX_REG_STATISTICS="both"), ShapeSpec(channels=8))
    with pytest.raises(ValueError, match="BBOX_REG_LOSS_TYPE is giou"):
        FasterRCNNOutputLayers(config(BBOX_REG_LOSS_TYPE="giou"), ShapeSpec(channels=8))
    with pytest.raises(ValueError, match="statistics of 5 classes for 3 regressors"):
        output_layers(rows=5)
