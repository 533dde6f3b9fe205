"""A start for training from nothing, without batch normalisation: weights scaled by what the first images give.

ZF-net and VGG-16 have no normalisation layers. From random weights alone most of what a deep layer sees is common to
all images, which a short training first has to undo.
"""

import torch
from torch import nn

from ..modeling.classifier import BackboneClassifier

__all__ = ["initialize_from_images"]

_PIXEL_DEVIATION = 58.0  # of photographs, 0 to 255


@torch.no_grad()
def initialize_from_images(model: BackboneClassifier, images: torch.Tensor) -> None:
    """Scale and shift every layer's channels so that over `images` they have mean 0 and a common deviation.

    Data-dependent initialisation after Salimans & Kingma (2016) and Kraehenbuehl et al. (2016): the network begins as
    if normalised layer by layer. The deviations fall geometrically from that of the pixels after the first convolution
    to 1 at fc6, fc7 and the classifier's input: bringing it down all at once would need first-layer weights so small
    that one step of SGD overturns them.

    Args:
        model: with random weights; changed in place.
        images: (N, 3, S, S), 0 to 255, N of some dozens of differing images.
    """
    convolutions = [layer for layer in model.backbone.modules() if isinstance(layer, nn.Conv2d)]
    linear = [layer for layer in model.box_head.modules() if isinstance(layer, nn.Linear)]
    spread = _PIXEL_DEVIATION / float(model.pixel_std.mean())
    wanted = [spread ** (1 - number / len(convolutions)) for number in range(len(convolutions))] + [1.0] * len(linear)
    was_training = model.training
    model.eval()
    for layer, deviation in zip(convolutions + linear, wanted):
        output = _output_of(layer, model, images)  # those before are scaled already
        others = [axis for axis in range(output.dim()) if axis != 1]
        mean, std = output.mean(dim=others), output.std(dim=others)
        factor = deviation / std.clamp(min=max(0.1 * float(output.std()), 1e-6))  # a nearly silent channel stays quiet
        layer.weight *= factor.view(-1, *[1] * (layer.weight.dim() - 1))
        if layer.bias is not None:
            layer.bias.copy_((layer.bias - mean) * factor)
    model.train(was_training)


def _output_of(layer: nn.Module, model: BackboneClassifier, images: torch.Tensor) -> torch.Tensor:
    outputs = []
    # a copy, because the ReLU after the layer works in place
    handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output.clone()))
    try:
        model.logits(images)
    finally:
        handle.remove()
    return outputs[0]
