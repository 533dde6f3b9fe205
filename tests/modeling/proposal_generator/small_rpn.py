"""A region proposal network of few channels and small anchors, as a preset configures it, and what its tests share."""

from pathlib import Path

import frcnn_alt
from frcnn_alt.modeling.proposal_generator import FasterRCNNRPN

import numpy as np
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
CHANNELS = 4
SCALES = (2, 4)  # of the anchors, in units of 16 pixels, as tests/oracles/anchors.py has them
STATISTICS = ([[0.1, -0.05, 0.2, 0.0]], [[0.13, 0.12, 0.3, 0.4]])  # mean and std of deltas


def make_rpn(*overrides, preset="paper") -> FasterRCNNRPN:
    """The RPN of ``configs/Base-RCNN-ZF.yaml`` with a preset laid over it and anchors of 32 and 64 pixels."""
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-ZF.yaml"))
    cfg.merge_from_file(str(CONFIGS / "presets" / f"{preset}.yaml"))
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16 * scale for scale in SCALES]]
    cfg.merge_from_list(list(overrides))
    torch.manual_seed(0)
    rpn = build_proposal_generator(cfg, {"conv5": ShapeSpec(channels=CHANNELS, stride=16)})
    assert type(rpn) is FasterRCNNRPN
    return rpn


def ground_truth(boxes, image_size=(96, 128)) -> Instances:
    return Instances(image_size, gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))


def grid(rpn, height=96, width=128):
    """The anchors of an image, as `rpn` makes them."""
    return rpn.anchor_generator([torch.zeros(1, 1, -(-height // 16), -(-width // 16))])


def inclusive(boxes):
    """Continuous corners, array or tensor, as the first and last pixels that the oracles work in; float64."""
    boxes = boxes.detach().numpy() if isinstance(boxes, torch.Tensor) else np.asarray(boxes)
    return boxes.astype(np.float64).reshape(-1, 4) - [0, 0, 1, 1]


def random_predictions(num_images, num_anchors):
    torch.manual_seed(3)
    logits = torch.randn(num_images, num_anchors, requires_grad=True)
    deltas = torch.randn(num_images, num_anchors, 4, requires_grad=True)
    return logits, deltas


def run_losses(rpn, anchors, logits, labels, deltas, boxes):
    with EventStorage():
        return rpn.losses(anchors, [logits], labels, [deltas], boxes)


IMAGES = [ground_truth([[10, 12, 60, 70], [70, 30, 120, 90]]), ground_truth([[30, 30, 52, 76], [60, 20, 110, 70]])]
