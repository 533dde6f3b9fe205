import frcnn_alt

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_roi_heads
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

K = 3
SIZE = (160, 192)
FEATURES = {"conv5": ShapeSpec(channels=6, stride=16)}


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


def make_proposals(boxes):
    instances = Instances(SIZE)
    instances.proposal_boxes = Boxes(torch.as_tensor(np.asarray(boxes, np.float32).reshape(-1, 4)))
    instances.objectness_logits = torch.linspace(1, 0, len(instances.proposal_boxes))
    return instances


def make_objects(boxes, classes):
    instances = Instances(SIZE)
    instances.gt_boxes = Boxes(torch.as_tensor(np.asarray(boxes, np.float32).reshape(-1, 4)))
    instances.gt_classes = torch.as_tensor(classes, dtype=torch.int64)
    return instances


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


def overlap(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


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
    stock = roi_heads(POOLER_INCLUSIVE_CORNERS=False)
    assert stock.box_pooler([feature], box).max() == 7


def test_training_samples_by_the_papers_rule():
    """At most a quarter foreground (IoU >= 0.5), the rest background (0.1 <= IoU < 0.5), 16 an image (SPEC 5.2)."""
    scenes = [scene(0), scene(1)]
    sampled, losses = train(roi_heads(), [s[0] for s in scenes], [s[1] for s in scenes])
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    for regions, (_, objects) in zip(sampled, scenes):
        assert len(regions) == 16
        assert (regions.gt_classes < K).sum() == 4
        gt = objects.gt_boxes.tensor.numpy()
        for box, label in zip(regions.proposal_boxes.tensor.numpy(), regions.gt_classes.tolist()):
            overlaps = [overlap(box, other) for other in gt]
            if label < K:
                assert max(overlaps) >= 0.5
                assert label == objects.gt_classes[int(np.argmax(overlaps))]
            else:
                assert 0.1 <= max(overlaps) < 0.5


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


@pytest.mark.parametrize("append_gt", [True, False])
@pytest.mark.parametrize("as_boxes", [True, False])
def test_statistics_are_those_of_all_foreground_regions(append_gt, as_boxes):
    heads = roi_heads(PROPOSAL_APPEND_GT=append_gt, BATCH_SIZE_PER_IMAGE=1)  # sampling must not matter
    scenes = [scene(seed) for seed in range(6)]
    samples = {label: [] for label in range(K)}
    for regions, objects in scenes:
        gt = objects.gt_boxes.tensor.double().numpy()
        boxes = regions.proposal_boxes.tensor.double().numpy()
        for box in np.concatenate([boxes, gt]) if append_gt else boxes:
            overlaps = [overlap(box, other) for other in gt]
            best = int(np.argmax(overlaps))
            if overlaps[best] < 0.5:
                continue
            w, h = box[2] - box[0], box[3] - box[1]
            u, v = gt[best][2] - gt[best][0], gt[best][3] - gt[best][1]
            dx, dy = (gt[best][:2] + gt[best][2:] - box[:2] - box[2:]) / 2 / [w, h]
            for sign in (1, -1):
                samples[int(objects.gt_classes[best])].append([sign * dx, dy, np.log(u / w), np.log(v / h)])
    assert all(len(of_class) > 10 for of_class in samples.values())

    statistics = heads.new_box_statistics()
    for start in (0, 2, 4):
        regions, objects = zip(*scenes[start : start + 2])
        boxes = [r.proposal_boxes if as_boxes else r for r in regions]
        heads.update_box_statistics(statistics, boxes, list(objects))
    heads.update_box_statistics(statistics, [make_proposals([[0, 0, 9, 9]])], [make_objects([], [])])
    mean, std = statistics.finish()
    for label, of_class in samples.items():
        np.testing.assert_allclose(mean[label].numpy(), np.mean(of_class, axis=0), atol=1e-5)
        np.testing.assert_allclose(std[label].numpy(), np.std(of_class, axis=0), rtol=1e-4)

    heads.set_box_statistics(mean, std)
    assert torch.equal(heads.state_dict()["box_predictor.box2box_transform.mean"], mean)
    assert torch.equal(heads.state_dict()["box_predictor.box2box_transform.std"], std)


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


def test_fixed_statistics_cannot_be_set():
    heads = roi_heads(BBOX_REG_STATISTICS="fixed")
    assert heads.new_box_statistics() is None
    with pytest.raises(ValueError, match='BBOX_REG_STATISTICS is "fixed"'):
        heads.set_box_statistics(torch.zeros(K, 4), torch.ones(K, 4))


def test_numbers_of_images_must_agree():
    heads = roi_heads()
    regions, objects = scene(0)
    with pytest.raises(ValueError, match="proposals of 2 images and objects of 1"):
        heads.update_box_statistics(heads.new_box_statistics(), [regions, regions], [objects])
