from functools import partial

import frcnn_alt

import numpy as np
import pytest
import region_scenes
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_roi_heads
from detectron2.structures import Boxes, ImageList
from detectron2.utils.events import EventStorage

K = 3
SIZE = (160, 192)
FEATURES = {"conv5": ShapeSpec(channels=6, stride=16)}
make_proposals = partial(region_scenes.make_proposals, size=SIZE)
make_objects = partial(region_scenes.make_objects, size=SIZE)


def roi_heads(**heads):
    torch.manual_seed(0)
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.ROI_HEADS.NAME = "FasterRCNNROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["conv5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = K
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16
    cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS = [0.1, 0.5]
    cfg.MODEL.ROI_HEADS.IOU_LABELS = [-1, 0, 1]
    cfg.MODEL.ROI_HEADS.update({k: v for k, v in heads.items() if k in cfg.MODEL.ROI_HEADS})
    cfg.MODEL.ROI_BOX_HEAD.NAME = "ZFBoxHead"
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 12
    cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIPool"
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 6
    cfg.MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA = 1.0
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
    cfg.MODEL.ROI_BOX_HEAD.update({k: v for k, v in heads.items() if k in cfg.MODEL.ROI_BOX_HEAD})
    return build_roi_heads(cfg, FEATURES)


def random_boxes(random, count):
    corners = random.rand(count, 2) * 90
    return np.concatenate([corners, corners + 15 + random.rand(count, 2) * 50], axis=1).astype(np.float32)


def scene(seed, objects=4, regions=60):
    random = np.random.RandomState(seed)
    gt = random_boxes(random, objects)
    near = np.repeat(gt, 8, axis=0) + random.randn(8 * objects, 4).astype(np.float32) * 6
    boxes = np.concatenate([near, random_boxes(random, regions)])
    return make_proposals(boxes), make_objects(gt, random.randint(0, K, objects))


def feature_maps(images):
    torch.manual_seed(1)
    return {"conv5": torch.randn(images, 6, 10, 12, requires_grad=True)}


def images(count):
    return ImageList(torch.zeros(count, 3, *SIZE), [SIZE] * count)


def train(heads, proposals, objects):
    heads.train()
    features = feature_maps(len(proposals))
    with EventStorage():
        sampled, losses = heads(images(len(proposals)), features, proposals, objects)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in heads.parameters())
    return sampled, losses


def test_parts_are_the_papers():
    heads = roi_heads()
    assert set(heads.state_dict()) == {
        *(f"box_head.{layer}.{kind}" for layer in ("fc6", "fc7") for kind in ("weight", "bias")),
        *(f"box_predictor.{layer}.{kind}" for layer in ("cls_score", "bbox_pred") for kind in ("weight", "bias")),
        "box_predictor.box2box_transform.mean",
        "box_predictor.box2box_transform.std",
    }
    assert tuple(heads.box_head.fc6.weight.shape) == (12, 6 * 6 * 6)
    feature = torch.arange(12.0).expand(1, 6, 10, 12)
    box = [Boxes(torch.tensor([[0.0, 0.0, 104.0, 104.0]]))]
    assert heads.box_pooler([feature], box).max() == 6  # with inclusive corners, not 7
    stock = roi_heads(POOLER_INCLUSIVE_CORNERS=False, POOLER_ROUND_CORNERS=False)
    assert stock.box_pooler([feature], box).max() == 7


def test_training_learns_a_batch_by_heart():
    heads = roi_heads(DROPOUT=0.0)
    scenes = [scene(0), scene(1)]
    statistics = heads.new_box_statistics()
    heads.update_box_statistics(statistics, *zip(*scenes))
    heads.set_box_statistics(*statistics.finish())
    optimizer = torch.optim.SGD(heads.parameters(), lr=0.02, momentum=0.9)
    history = []
    for _ in range(60):
        optimizer.zero_grad()
        _, losses = train(heads, [s[0] for s in scenes], [s[1] for s in scenes])
        optimizer.step()
        history.append(sum(losses.values()).item())
    assert np.mean(history[-5:]) < 0.6 * np.mean(history[:5])


@pytest.mark.parametrize("background_from, expected", [(0.1, 0), (0.0, 16)])
def test_image_without_objects(background_from, expected):
    """Its regions overlap nothing: background only if the background's range begins at 0."""
    rule = {} if background_from else {"IOU_THRESHOLDS": [0.5], "IOU_LABELS": [0, 1]}
    sampled, _ = train(roi_heads(**rule), [scene(0)[0], scene(1)[0]], [make_objects([], []), scene(1)[1]])
    assert len(sampled[0]) == expected
    assert (sampled[0].gt_classes == K).all()
    assert len(sampled[1]) == 16


@pytest.mark.parametrize("append_gt", [True, False])
def test_training_batch_without_regions(append_gt):
    heads = roi_heads(PROPOSAL_APPEND_GT=append_gt)
    nothing = make_proposals([])
    sampled, losses = train(heads, [nothing, nothing], [scene(0)[1], make_objects([], [])])
    assert [len(regions) for regions in sampled] == [4 if append_gt else 0, 0]
    if not append_gt:
        assert sum(losses.values()).item() == 0


@pytest.mark.parametrize("counts", [(0,), (0, 5), (0, 0)])
def test_detection_without_regions(counts):
    heads = roi_heads().eval()
    proposals = [make_proposals(random_boxes(np.random.RandomState(0), count)) for count in counts]
    detections, losses = heads(images(len(counts)), feature_maps(len(counts)), proposals)
    assert losses == {}
    for count, found in zip(counts, detections):
        assert (len(found) > 0) == (count > 0)
        assert found.image_size == SIZE


def test_class_agnostic_heads_have_one_row():
    heads = roi_heads(CLS_AGNOSTIC_BBOX_REG=True)
    statistics = heads.new_box_statistics()
    heads.update_box_statistics(statistics, *zip(scene(0), scene(1)))
    mean, std = statistics.finish()
    assert tuple(mean.shape) == (1, 4)
    heads.set_box_statistics(mean, std)
    train(heads, *zip(scene(0)))
    detections, _ = heads.eval()(images(1), feature_maps(1), [scene(0)[0]])
    assert len(detections[0]) > 0
