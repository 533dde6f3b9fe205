"""What ZF-net and VGG-16 have in common: layers in one chain, grouped in blocks that can be frozen from the input on.

Shape letters: N images, C channels, H x W pixels of the padded batch, Hi x Wi cells of a feature map.

Naming convention: layers carry the names of the original Caffe networks (conv1_1, relu1_1, pool1, ...), as direct
children of the backbone, so that a state dict reads ``conv1_1.weight``. A feature is named after its convolution and
is taken after the ReLU.
"""

from abc import abstractmethod
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn

__all__ = ["PlainBackbone", "scaled_channels"]

Block = List[Tuple[str, nn.Module]]

# Standard deviation of photographs' pixels (0 to 255) around their mean; detectron2's own PIXEL_STD for torchvision
# models is 57.4, 57.1, 58.4.
PIXEL_DEVIATION = 57.6


def scaled_channels(channels: int, width_multiplier: float) -> int:
    """Number of channels of a network made wider or narrower: rounded, at least 4.

    Raises:
        ValueError: `width_multiplier` is not positive.
    """
    if width_multiplier <= 0:
        raise ValueError(f"MODEL.BACKBONE.WIDTH_MULTIPLIER must be positive, got {width_multiplier}")
    return max(4, int(round(channels * width_multiplier)))


class PlainBackbone(Backbone):
    """A chain of blocks of convolutions, each followed by a ReLU, with normalisations and poolings in between.

    `size_divisibility` is 0, as detectron2's default is: images are padded to the size of the batch only, never to a
    multiple of the stride, because the originals do not (SPEC 1.3).

    Weights start as for training from scratch, by He initialisation (fan-in) with zero biases; the paper's come from
    ImageNet. The network is fed pixels of 0 to 255 less their mean, and features should not have such a spread: every
    convolution after the first takes an equal part in bringing `input_deviation` down to 1. The first alone would get
    weights so small that one step of SGD overturns them.

    A subclass says with `make_blocks` what its layers are.

    Attributes:
        default_freeze_at: the paper's `freeze_at` for this network.
        last_convolution: name of the convolution whose feature the paper's detector reads.

    Args:
        in_channels: channels of the images.
        width_multiplier: multiplies every number of channels; 1.0 is the original.
        freeze_at: how many blocks, from the input on, are not trained; 0 trains all, None is `default_freeze_at`.
        out_features: names of convolutions whose output, after ReLU, is returned; None is `last_convolution` alone.
        input_deviation: standard deviation of the values that the network is fed; matters only for training from
            scratch.

    Raises:
        ValueError: `width_multiplier` is not positive, `freeze_at` is not between 0 and the number of blocks, or an out
            feature does not exist.
    """

    default_freeze_at: int
    last_convolution: str

    @configurable
    def __init__(
        self,
        in_channels: int = 3,
        *,
        width_multiplier: float = 1.0,
        freeze_at: Optional[int] = None,
        out_features: Optional[Sequence[str]] = None,
        input_deviation: float = 1.0,
    ) -> None:
        super().__init__()
        blocks = self.make_blocks(in_channels, width_multiplier)
        if freeze_at is None:
            freeze_at = self.default_freeze_at
        if out_features is None:
            out_features = (self.last_convolution,)
        self._block_layers = [[name for name, _ in block] for block in blocks]
        self._out_feature_channels: Dict[str, int] = {}
        self._out_feature_strides: Dict[str, int] = {}
        self._feature_after: Dict[str, str] = {}  # name of a ReLU -> name of the feature that it gives
        stride = 1
        feature = ""
        for name, layer in (pair for block in blocks for pair in block):
            self.add_module(name, layer)
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
                stride *= layer.stride if isinstance(layer.stride, int) else layer.stride[0]
            if isinstance(layer, nn.Conv2d):
                feature = name
                self._out_feature_channels[feature] = layer.out_channels
                self._out_feature_strides[feature] = stride
            elif isinstance(layer, nn.ReLU):
                self._feature_after[name] = feature

        unknown = [name for name in out_features if name not in self._out_feature_channels]
        if unknown or not out_features:
            raise ValueError(
                f"{type(self).__name__}: no feature {unknown}; choose out_features among "
                f"{list(self._out_feature_channels)}"
            )
        self._out_features = list(out_features)
        self._initialise(input_deviation)
        self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> Dict[str, Any]:
        pixel_std = cfg.MODEL.PIXEL_STD
        return {
            "in_channels": input_shape.channels,
            "width_multiplier": cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
            "input_deviation": PIXEL_DEVIATION * len(pixel_std) / sum(pixel_std),
        }

    @staticmethod
    @abstractmethod
    def make_blocks(in_channels: int, width_multiplier: float) -> List[Block]:
        """Make the layers for images of `in_channels` channels, each as wide as `scaled_channels` gives.

        Returns:
            blocks of (name, layer) in order; a block ends with what follows it before the next convolution.
        """

    def _initialise(self, input_deviation: float) -> None:
        convolutions = [layer for layer in self.children() if isinstance(layer, nn.Conv2d)]
        damping = input_deviation ** (-1.0 / (len(convolutions) - 1))
        for number, layer in enumerate(convolutions):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
            if number > 0:
                with torch.no_grad():
                    layer.weight *= damping

    def freeze(self, freeze_at: int) -> "PlainBackbone":
        """Exclude the first `freeze_at` blocks from training; returns the backbone itself, as detectron2's ResNet does.

        Raises:
            ValueError: there are not that many blocks.
        """
        if not 0 <= freeze_at <= len(self._block_layers):
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT must be between 0 and {len(self._block_layers)} "
                f"(blocks of {type(self).__name__}), got {freeze_at}"
            )
        for names in self._block_layers[:freeze_at]:
            for name in names:
                for parameter in getattr(self, name).parameters():
                    parameter.requires_grad = False
        return self

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        """Compute the features of images.

        Args:
            x: (N, in_channels, H, W), pixels less their mean.

        Returns:
            feature name -> (N, C, Hi, Wi), where Hi and Wi are what Caffe's rounding gives (SPEC 1.3).
        """
        if x.device.type == "cpu":  # torch's poolings there take a third of the time on channels that lie side by side
            x = x.contiguous(memory_format=torch.channels_last)
        outputs: Dict[str, torch.Tensor] = {}
        for names in self._block_layers:
            for name in names:
                x = getattr(self, name)(x)
                feature = self._feature_after.get(name)
                if feature in self._out_features:
                    outputs[feature] = x
        return outputs
