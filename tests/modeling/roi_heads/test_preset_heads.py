"""The Fast R-CNN part as the presets build it: its layers, its new weights, and a training pass from maps to losses."""

import frcnn_alt

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_box_head
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage
from oracles.fast_rcnn_losses import fast_rcnn_losses
from oracles.roi_max_pooling import roi_max_pool
from region_scenes import CHANNELS, CONFIGS, NUM_CLASSES, make_objects, make_proposals, preset_config, preset_roi_heads
from torch import nn

PRESETS = ["paper", "pyfrcnn"]
NETWORKS = [("ZF", 6), ("VGG16", 7)]
SIZE = (160, 192)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("network, channels, bins, inputs", [("ZF", 256, 6, 9216), ("VGG16", 512, 7, 25088)])
def test_box_head_is_the_networks_own(preset, network, channels, bins, inputs):
    """As the configs that train have it: nothing is set here."""
    cfg = frcnn_alt.get_cfg()
    for name in (f"{network.lower()}_4step.yaml", f"presets/{preset}.yaml"):
        cfg.merge_from_file(str(CONFIGS / name))
    assert bins == cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
    with torch.device("meta"):
        head = build_box_head(cfg, ShapeSpec(channels=channels, height=bins, width=bins))
    assert tuple(head.fc6.weight.shape) == (4096, inputs)
    assert tuple(head.fc7.weight.shape) == (4096, 4096)
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert (type(head.drop6) is nn.Dropout) == (network == "VGG16")


@pytest.mark.parametrize("preset", PRESETS)
def test_new_weights_of_cls_score_and_bbox_pred(preset):
    """N(0, 0.01) and N(0, 0.001): mean, deviation, and the shares within one and two deviations of a Gaussian."""
    cfg = preset_config(preset)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 20
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 1024
    predictor = preset_roi_heads(cfg).box_predictor
    for layer, rows, deviation in ((predictor.cls_score, 21, 0.01), (predictor.bbox_pred, 80, 0.001)):
        assert tuple(layer.weight.shape) == (rows, 1024)
        scaled = layer.weight.detach().flatten() / deviation
        assert scaled.mean().item() == pytest.approx(0, abs=0.03)
        assert scaled.std().item() == pytest.approx(1, abs=0.02)
        assert (scaled.abs() < 1).float().mean().item() == pytest.approx(0.6827, abs=0.01)
        assert (scaled.abs() < 2).float().mean().item() == pytest.approx(0.9545, abs=0.01)
        assert not layer.bias.any()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("network, bins", NETWORKS)
def test_one_training_pass_from_maps_to_losses(preset, network, bins):
    """Two images; the regions that the heads drew, pooled, classified and regressed once more by the rules."""
    cfg = preset_config(preset, network)
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.0  # on its own: test_box_head.py
    heads = preset_roi_heads(cfg).train()
    random = np.random.RandomState(0)
    with torch.no_grad():
        for layer in (heads.box_predictor.cls_score, heads.box_predictor.bbox_pred):
            nn.init.normal_(layer.weight, std=0.3)
    mean, std = random.randn(NUM_CLASSES, 4) * 0.1, random.rand(NUM_CLASSES, 4) * 0.3 + 0.1
    heads.set_box_statistics(mean, std)

    proposals, objects = [], []
    for _ in range(2):
        corners = random.rand(3, 2) * 80
        boxes = np.concatenate([corners, corners + 20 + random.rand(3, 2) * 50], axis=1)
        near = np.repeat(boxes, 60, axis=0) + np.tile(random.randn(180, 2) * 15, 2)
        proposals.append(make_proposals(near, SIZE))
        objects.append(make_objects(boxes, random.randint(0, NUM_CLASSES, 3), SIZE))
    maps = torch.randn(2, CHANNELS, 10, 12)
    features = dict.fromkeys(cfg.MODEL.ROI_HEADS.IN_FEATURES, maps)
    with EventStorage():
        sampled, losses = heads(ImageList(torch.zeros(2, 3, *SIZE), [SIZE] * 2), features, proposals, objects)
    assert [len(regions) for regions in sampled] == [64, 64]

    weights = {name: value.double().numpy() for name, value in heads.state_dict().items()}
    pooled = [
        roi_max_pool(maps[image].numpy(), box, bins, 16, round_corners=preset == "paper")[0].flatten()
        for image, regions in enumerate(sampled)
        for box in regions.proposal_boxes.tensor.numpy()
    ]
    x = np.array(pooled)
    for layer in ("box_head.fc6", "box_head.fc7"):
        x = np.maximum(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
    scores, deltas = (
        x @ weights[f"box_predictor.{layer}.weight"].T + weights[f"box_predictor.{layer}.bias"]
        for layer in ("cls_score", "bbox_pred")
    )
    regions, targets = (
        np.concatenate([getattr(part, field).tensor.double().numpy() for part in sampled])
        for field in ("proposal_boxes", "gt_boxes")
    )
    labels = [label for part in sampled for label in part.gt_classes.tolist()]
    classification, regression = fast_rcnn_losses(scores, deltas, regions, targets, labels, mean, std)
    assert regression > 0.1
    assert losses["loss_cls"].item() == pytest.approx(classification, rel=1e-4)
    assert losses["loss_box_reg"].item() == pytest.approx(regression, rel=1e-4)
