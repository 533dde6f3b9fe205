"""VGG-16 up to conv5_3: thirteen 3 x 3 convolutions in five blocks; stride 16.

Shape letters: N images, H x W pixels of the padded batch, Hi x Wi cells of a feature map.
"""

from typing import List

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from .plain import Block, PlainBackbone, scaled_channels

__all__ = ["VGG16", "build_vgg16_backbone"]


class VGG16(PlainBackbone):
    """VGG-16 (configuration D) without pool5, read after conv5_3's ReLU (paper section 4.1, SPEC 1.2).

    (N, in_channels, H, W) -> {"conv5_3": (N, 512, Hi, Wi)} with stride 16 and Hi = H / 16 rounded up, because Caffe's
    poolings round up; torchvision's round down.

    The five blocks are conv1_1 to pool1, ..., conv5_1 to conv5_3; the paper's `freeze_at` of 2 freezes conv1_1 to
    conv2_2. Arguments and errors are those of PlainBackbone.
    """

    default_freeze_at = 2
    last_convolution = "conv5_3"

    @staticmethod
    def make_blocks(in_channels: int, width_multiplier: float) -> List[Block]:
        blocks: List[Block] = []
        channels = in_channels
        for number, (out_channels, convolutions) in enumerate(
            [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1
        ):
            width = scaled_channels(out_channels, width_multiplier)
            block: Block = []
            for position in range(1, convolutions + 1):
                block.append((f"conv{number}_{position}", nn.Conv2d(channels, width, 3, padding=1)))
                block.append((f"relu{number}_{position}", nn.ReLU(inplace=True)))
                channels = width
            if number <= 4:
                block.append((f"pool{number}", nn.MaxPool2d(2, stride=2, ceil_mode=True)))
            blocks.append(block)
        return blocks


@BACKBONE_REGISTRY.register()
def build_vgg16_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> VGG16:
    """Build VGG-16 from MODEL.BACKBONE.{WIDTH_MULTIPLIER, FREEZE_AT}; its feature is "conv5_3"."""
    return VGG16(cfg, input_shape)
