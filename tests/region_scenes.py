"""RoI heads of the presets in miniature, and scenes of objects and regions for them.

The boxes of a scene are whole pixels, so that overlaps of exactly 0.1 and 0.5, equal overlaps, boxes at x = 0, boxes
flush with the right and bottom edges and boxes of one pixel all occur.
"""

from pathlib import Path
from typing import NamedTuple, Sequence, Tuple

import frcnn_alt

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_roi_heads
from detectron2.structures import Boxes, Instances
from hypothesis import strategies as st
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NUM_CLASSES = 3
HEIGHT, WIDTH = 40, 48
CHANNELS = 6


class Scene(NamedTuple):
    """Objects and regions of an image, continuous corners."""

    regions: np.ndarray  # (R, 4)
    objects: np.ndarray  # (M, 4)
    classes: Tuple[int, ...]  # M


def preset_config(preset: str, network: str = "ZF") -> CfgNode:
    """The config of a preset over the paper's config of "ZF" or "VGG16", with few classes and narrow layers."""
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / f"Base-RCNN-{network}.yaml"))
    cfg.merge_from_file(str(CONFIGS / "presets" / f"{preset}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 12
    return cfg


def preset_roi_heads(cfg: CfgNode) -> nn.Module:
    """The RoI heads of such a config over a feature map of stride 16 and few channels."""
    torch.manual_seed(0)
    shape = ShapeSpec(channels=CHANNELS, stride=16)
    return build_roi_heads(cfg, dict.fromkeys(cfg.MODEL.ROI_HEADS.IN_FEATURES, shape))


def make_proposals(boxes: Sequence, size: Tuple[int, int] = (HEIGHT, WIDTH)) -> Instances:
    """Regions as detectron2's proposals, the best first."""
    instances = Instances(size)
    instances.proposal_boxes = Boxes(torch.as_tensor(np.asarray(boxes, np.float32).reshape(-1, 4)))
    instances.objectness_logits = torch.linspace(1, 0, len(instances.proposal_boxes))
    return instances


def make_objects(boxes: Sequence, classes: Sequence[int], size: Tuple[int, int] = (HEIGHT, WIDTH)) -> Instances:
    """Objects as detectron2's ground truth."""
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.as_tensor(np.asarray(boxes, np.float32).reshape(-1, 4)))
    instances.gt_classes = torch.as_tensor(classes, dtype=torch.int64)
    return instances


@st.composite
def boxes(draw: st.DrawFn) -> Tuple[int, int, int, int]:
    """A box of whole pixels inside the image, often at an edge."""
    x1, y1 = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    x2 = draw(st.one_of(st.just(WIDTH), st.just(x1 + 1), st.integers(x1 + 1, WIDTH)))
    y2 = draw(st.one_of(st.just(HEIGHT), st.just(y1 + 1), st.integers(y1 + 1, HEIGHT)))
    return x1, y1, x2, y2


@st.composite
def scenes(draw: st.DrawFn, most_regions: int = 24) -> Scene:
    """Up to four objects, some of them twice, and regions anywhere and around objects."""
    objects = draw(st.lists(boxes(), max_size=4))
    classes = tuple(draw(st.integers(0, NUM_CLASSES - 1)) for _ in objects)
    regions = draw(st.lists(boxes(), max_size=most_regions // 2))
    if objects:
        for x1, y1, x2, y2 in draw(st.lists(st.sampled_from(objects), max_size=most_regions // 2)):
            width, height = x2 - x1, y2 - y1
            left, top = draw(st.integers(0, width)), draw(st.integers(0, height))
            grown = x1 - left, y1, x2, y2 + draw(st.sampled_from([0, height, 9 * height]))
            shrunk = x1, y1, max(x2 - left, x1 + 1), max(y2 - top, y1 + 1)
            regions.append(draw(st.sampled_from([grown, shrunk])))
    return Scene(np.array(regions, float).reshape(-1, 4), np.array(objects, float).reshape(-1, 4), classes)
