"""The fast ZF-net: five convolutions, two local response normalisations, two overlapping poolings; stride 16.

Shape letters: N images, H x W pixels of the padded batch, Hi x Wi cells of a feature map.
"""

from typing import List

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from .lrn import SpatialLocalResponseNorm
from .plain import Block, PlainBackbone, scaled_channels

__all__ = ["ZF", "build_zf_backbone"]


class ZF(PlainBackbone):
    """ZF-net up to conv5, which the RPN and the RoI pooling both read after ReLU (paper section 4.1, SPEC 1.1).

    (N, in_channels, H, W) -> {"conv5": (N, 256, Hi, Wi)} with stride 16. Hi is H / 16 rounded up, or one more: both
    poolings round up (3 cells, stride 2, padding 1, ceil), so 600 x 1000 pixels give 39 x 64 cells (SPEC 1.3).

    The five blocks are a convolution each, with what follows it; the paper trains all (`freeze_at` 0). Arguments and
    errors are those of PlainBackbone.
    """

    default_freeze_at = 0
    last_convolution = "conv5"

    @staticmethod
    def make_blocks(in_channels: int, width_multiplier: float) -> List[Block]:
        blocks: List[Block] = []
        channels = in_channels
        for number, (out_channels, kernel, stride) in enumerate(
            [(96, 7, 2), (256, 5, 2), (384, 3, 1), (384, 3, 1), (256, 3, 1)], start=1
        ):
            width = scaled_channels(out_channels, width_multiplier)
            block: Block = [
                (f"conv{number}", nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2)),
                (f"relu{number}", nn.ReLU(inplace=True)),
            ]
            if number <= 2:
                block += [
                    (f"norm{number}", SpatialLocalResponseNorm(size=3, alpha=5e-5, beta=0.75)),
                    (f"pool{number}", nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)),
                ]
            blocks.append(block)
            channels = width
        return blocks


@BACKBONE_REGISTRY.register()
def build_zf_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ZF:
    """Build ZF-net from MODEL.BACKBONE.{WIDTH_MULTIPLIER, FREEZE_AT}; its feature is "conv5"."""
    return ZF(cfg, input_shape)
