"""The measuring pass against a plain numpy version written from SPEC 5.3 and 4.4."""

import math

from frcnn_alt import get_cfg
from frcnn_alt.engine.statistics import measure_proposal_statistics, measure_region_statistics
from frcnn_alt.proposals import ProposalSet, ProposalSetWriter

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BoxMode

CONFIG = __file__.rsplit("tests", 1)[0] + "configs/Base-RCNN-ZF.yaml"


def _image(number, annotations, width=64, height=48):
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": crowd}
        for box, label, crowd in annotations
    ]
    return {"image_id": number, "dataset_name": "d", "width": width, "height": height, "annotations": annotations}


def _iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def _delta(a, g):
    aw, ah, gw, gh = a[2] - a[0], a[3] - a[1], g[2] - g[0], g[3] - g[1]
    dx = ((g[0] + g[2]) - (a[0] + a[2])) / 2 / aw
    dy = ((g[1] + g[3]) - (a[1] + a[3])) / 2 / ah
    return [dx, dy, math.log(gw / aw), math.log(gh / ah)]


def _mean_std(deltas):
    """Every sample with its mirror image."""
    both = np.array([d for delta in deltas for d in (delta, [-delta[0], *delta[1:]])])
    return both.mean(axis=0), both.std(axis=0)


def _model(meta_architecture, **values):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = meta_architecture
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.05
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.merge_from_list([part for key, value in values.items() for part in (key.replace("__", "."), value)])
    return cfg, build_model(cfg)


def test_region_statistics_by_class(tmp_path):
    rng = np.random.default_rng(3)
    images, boxes_of = [], {}
    for number in range(4):
        objects = [([8.0, 6, 40, 30], number % 2, 0), ([30.0, 20, 60, 44], 1, 0), ([2.0, 2, 20, 20], 0, 1)]
        images.append(_image(number, objects))
        near = [np.array(o[0]) + rng.uniform(-5, 5, 4) for o in objects for _ in range(5)]
        boxes_of[number] = np.clip(np.array(near), 0, [64, 48, 64, 48]).astype(np.float32)
    with ProposalSetWriter(tmp_path / "set", "d") as writer:
        for number, boxes in boxes_of.items():
            writer.add(number, boxes, np.linspace(1, 0, len(boxes), dtype=np.float32))

    expected = {0: [], 1: [], 2: []}
    for image in images:
        objects = [(a["bbox"], a["category_id"]) for a in image["annotations"] if not a["iscrowd"]]
        for box in [*boxes_of[image["image_id"]][:12], *(b for b, _ in objects)]:
            overlaps = [_iou(box, g) for g, _ in objects]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= 0.5:
                expected[objects[best][1]].append(_delta(box, objects[best][0]))
    assert all(expected[k] for k in (0, 1))

    _, model = _model("FasterRCNN", MODEL__PROPOSAL_GENERATOR__NAME="PrecomputedProposals")
    measure_region_statistics(model, images, {"d": ProposalSet(tmp_path / "set")}, topk=12)
    transform = model.roi_heads.box_predictor.box2box_transform
    for label in (0, 1):
        mean, std = _mean_std(expected[label])
        np.testing.assert_allclose(transform.mean[label], mean, atol=1e-5)
        np.testing.assert_allclose(transform.std[label], std, atol=1e-5)
    assert (transform.mean[2] == 0).all() and (transform.std[2] == 1).all()  # a class without regions


def test_proposal_statistics_over_all_positive_anchors():
    images = [_image(n, [([10.0 + 3 * n, 8, 34 + 2 * n, 40], 0, 0), ([0.0, 0, 5, 5], 1, 1)]) for n in range(3)]
    cfg, model = _model(
        "FasterRCNNProposalNetwork",
        MODEL__ANCHOR_GENERATOR__SIZES=[[16, 32]],
        INPUT__MIN_SIZE_TRAIN=(96,),  # images are doubled
    )
    measure_proposal_statistics(cfg, model, images)

    base = []
    for w, h in ((23, 12), (16, 16), (11, 22)):  # SPEC 3.1's rounded sides at base 16
        base += [(w * s, h * s) for s in (1, 2)]
    deltas = []
    for image in images:
        gt = [2 * v for v in image["annotations"][0]["bbox"]]  # the crowd object does not count
        anchors = [
            (16 * j + 8 - w / 2, 16 * i + 8 - h / 2, 16 * j + 8 + w / 2, 16 * i + 8 + h / 2)
            for i in range(6)
            for j in range(8)
            for w, h in base
        ]
        # Inside the image in inclusive pixels; the originals' sides are integers, centred at 7.5.
        inside = [a for a in anchors if a[0] >= 0 and a[1] >= 0 and a[2] <= 128 and a[3] <= 96]
        overlaps = np.array([_iou(a, gt) for a in inside])
        positive = (overlaps >= 0.7) | (overlaps == overlaps.max())
        deltas += [_delta(a, gt) for a, p in zip(inside, positive) if p]
    mean, std = _mean_std(deltas)
    transform = model.proposal_generator.box2box_transform
    np.testing.assert_allclose(transform.mean[0], mean, atol=1e-5)
    np.testing.assert_allclose(transform.std[0], np.maximum(std, 1e-4), atol=1e-5)


@pytest.mark.parametrize("key", ["MODEL__RPN__BBOX_REG_STATISTICS"])
def test_raw_targets_need_no_pass(key):
    cfg, model = _model("FasterRCNNProposalNetwork", **{key: "none"})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_proposal_statistics(cfg, model, [_image(0, [([10.0, 8, 34, 40], 0, 0)])])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
