"""The smallest detector that every meta architecture of ours runs: one convolution of stride 16, and narrow heads."""

import frcnn_alt

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model

NUM_CLASSES = 2


@BACKBONE_REGISTRY.register()
class OneConvolutionBackbone(Backbone):
    """(N, 3, H, W) -> {"conv": (N, 4, H // 16, W // 16)}."""

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, kernel_size=16, stride=16)

    def forward(self, image):
        return {"conv": self.conv(image)}

    def output_shape(self):
        return {"conv": ShapeSpec(channels=4, stride=16)}


def one_convolution_config(*overrides) -> CfgNode:
    """get_cfg() with this backbone, small anchors and stock RoI heads of one narrow layer; then key, value, ..."""
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "OneConvolutionBackbone"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32]]
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["conv"]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM, cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 1, 8, 2
    cfg.merge_from_list(list(overrides))
    return cfg


def one_convolution_model(*overrides) -> torch.nn.Module:
    """The network of ``one_convolution_config``, with the same weights each time."""
    torch.manual_seed(0)
    return build_model(one_convolution_config(*overrides))
