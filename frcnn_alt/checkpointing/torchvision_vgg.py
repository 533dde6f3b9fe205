"""torchvision's VGG-16 under this package's names: another training of the architecture, on other pixels (SPEC 1.6)."""

import re
from typing import Dict, Mapping

import torch

from .errors import CheckpointError
from .foreign import TORCHVISION_PIXELS, ForeignWeights

__all__ = ["is_torchvision_vgg", "name_torchvision_layers"]

# Position in torchvision's ``features`` -> convolution; ReLUs and poolings take the numbers between.
_CONVOLUTIONS = {
    0: "conv1_1", 2: "conv1_2",
    5: "conv2_1", 7: "conv2_2",
    10: "conv3_1", 12: "conv3_2", 14: "conv3_3",
    17: "conv4_1", 19: "conv4_2", 21: "conv4_3",
    24: "conv5_1", 26: "conv5_2", 28: "conv5_3",
}  # fmt: skip
_MODULES: Dict[str, str] = {
    **{f"features.{position}": f"backbone.{layer}" for position, layer in _CONVOLUTIONS.items()},
    "classifier.0": "roi_heads.box_head.fc6",
    "classifier.3": "roi_heads.box_head.fc7",
}
_NAME = re.compile(r"(features|classifier)\.\d+\.\w+")


def is_torchvision_vgg(model: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are the names of a torchvision network of the VGG kind: ``features.N`` and ``classifier.N``."""
    return bool(model) and all(_NAME.fullmatch(name) for name in model) and "features.0.weight" in model


def name_torchvision_layers(model: Mapping[str, torch.Tensor], path: str) -> ForeignWeights:
    """Give the layers of a torchvision VGG-16 their names in a detector of this package.

    fc6 needs no reordering: torchvision flattens channel, row, column too.

    Args:
        model: torchvision's state dict.
        path: of the file, for messages.

    Raises:
        CheckpointError: another VGG than the one without batch normalisation and with 16 layers, or values that are not
            finite, which torchvision's file of features alone has in place of fc6 and fc7.
    """
    modules = {name.rsplit(".", 1)[0] for name in model}
    convolutions = {module for module in modules if module.startswith("features.")}
    if convolutions != {f"features.{position}" for position in _CONVOLUTIONS}:
        raise CheckpointError(
            f"{path} is a network of torchvision, but not its vgg16, the only one that can be read "
            "(not vgg16_bn, vgg19, alexnet)."
        )
    weights = ForeignWeights(files=[path], pixels=dict(TORCHVISION_PIXELS))
    for name, tensor in model.items():
        module, kind = name.rsplit(".", 1)
        if module not in _MODULES:
            weights.not_used += [module] if module not in weights.not_used else []
            continue
        weights.model[f"{_MODULES[module]}.{kind}"] = tensor
        weights.layers[f"{_MODULES[module]}.{kind}"] = module
    weights.check_finite(" Of torchvision's files use IMAGENET1K_V1; IMAGENET1K_FEATURES has no fc6 and fc7.")
    return weights
