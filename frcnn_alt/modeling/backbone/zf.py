"""The fast ZF-net: five convolutions, two local response normalisations, two overlapping poolings; stride 16.

Shape letters: N images, H x W pixels of the padded batch, Hi x Wi cells of a feature map.
"""

from typing import Any, Dict, List, Sequence

from detectron2.config import CfgNode, configurable
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

    Args:
        in_channels: channels of the images.
        width_multiplier: multiplies every number of channels; 1.0 is ZF-net.
        freeze_at: how many of the five blocks, each a convolution with what follows it, are not trained; the paper
            trains all (0).
        out_features: names of the returned features among conv1 to conv5.
        input_deviation: standard deviation of the input values; matters only for training from scratch.

    Raises:
        ValueError: `freeze_at`, `out_features` or `width_multiplier` out of range.
    """

    @configurable
    def __init__(
        self,
        in_channels: int = 3,
        *,
        width_multiplier: float = 1.0,
        freeze_at: int = 0,
        out_features: Sequence[str] = ("conv5",),
        input_deviation: float = 1.0,
    ) -> None:
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
        super().__init__(blocks, out_features=out_features, freeze_at=freeze_at, input_deviation=input_deviation)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> Dict[str, Any]:
        return cls.arguments_from_config(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_zf_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ZF:
    """Build ZF-net from MODEL.BACKBONE.{WIDTH_MULTIPLIER, FREEZE_AT}; its feature is "conv5"."""
    return ZF(cfg, input_shape)
