"""ZF-net and VGG-16 between the pixels and the RPN, and between a pooled region and its features (SPEC 1.1, 1.2).

Weights are {Caffe's layer name: (weight, bias)} in Caffe's layout.
"""

from typing import Callable, NamedTuple

import numpy as np

from ..dropout import dropout_at_test
from .layers import convolve, fully_connected, max_pool, normalise_within_channel, relu


class Architecture(NamedTuple):
    features: Callable  # (3, height, width) pixels less their mean, weights -> (channels, Hi, Wi), stride 16
    rpn_convolution: str  # the name of the 3 x 3 convolution of the RPN
    bins: int  # of RoI pooling, in each direction
    inverted_dropout: bool  # after fc6 and fc7


def zf_features(x, weights):
    for number, stride in ((1, 2), (2, 2), (3, 1), (4, 1), (5, 1)):
        weight, bias = weights[f"conv{number}"]
        x = relu(convolve(x, weight, bias, stride, padding=weight.shape[2] // 2))
        if number <= 2:
            x = max_pool(normalise_within_channel(x), kernel=3, stride=2, padding=1)
    return x


def vgg16_features(x, weights):
    for block, convolutions in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for position in range(1, convolutions + 1):
            weight, bias = weights[f"conv{block}_{position}"]
            x = relu(convolve(x, weight, bias, stride=1, padding=1))
        if block < 5:
            x = max_pool(x, kernel=2, stride=2)
    return x


ZF = Architecture(zf_features, "rpn_conv1", bins=6, inverted_dropout=False)
VGG16 = Architecture(vgg16_features, "rpn_conv/3x3", bins=7, inverted_dropout=True)


def region_features(pooled, weights, architecture):
    """(regions, channels, bins, bins) to fc7's output (regions, out); a region is flattened channel by channel."""
    x = pooled.reshape(len(pooled), int(np.prod(pooled.shape[1:])))
    for name in ("fc6", "fc7"):
        x = relu(fully_connected(x, *weights[name]))
        x = dropout_at_test(x, p=0.5, inverted=architecture.inverted_dropout)
    return x
