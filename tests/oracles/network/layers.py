"""The layers of ZF-net and VGG-16 as Caffe computes them, in float64 (SPEC 1.1, 1.2), fast enough for whole networks.

A map has the shape (channels, height, width). The pooling is that of ``oracles.max_pooling``, and the normalisation
follows the rule of ``oracles.lrn``, cell by cell there and all cells at once here.
"""

import numpy as np

from ..max_pooling import max_pool as max_pool_of_images


def convolve(x, weight, bias, stride=1, padding=0):
    """Cross-correlation with (out, in, k, k) weights: every window becomes a column (im2col), then one product."""
    channels_out, channels_in, kernel, _ = weight.shape
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height = (x.shape[1] + 2 * padding - kernel) // stride + 1
    width = (x.shape[2] + 2 * padding - kernel) // stride + 1
    columns = np.empty((channels_in, kernel, kernel, height, width))
    for row in range(kernel):
        for column in range(kernel):
            columns[:, row, column] = padded[
                :, row : row + stride * height : stride, column : column + stride * width : stride
            ]
    flat = weight.reshape(channels_out, -1) @ columns.reshape(channels_in * kernel * kernel, height * width)
    return (flat + bias[:, None]).reshape(channels_out, height, width)


def relu(x):
    return np.maximum(x, 0.0)


def max_pool(x, kernel, stride, padding=0):
    return max_pool_of_images(x[None], kernel, stride, padding)[0]


def normalise_within_channel(x, alpha=5e-5, beta=0.75):
    """x * (1 + alpha * m)^-beta, m the mean of x^2 over 3 x 3 cells, of which those outside the map count as zeros."""
    channels, height, width = x.shape
    squares = np.zeros((channels, height + 2, width + 2))
    squares[:, 1:-1, 1:-1] = x * x
    total = np.zeros_like(x)
    for row in range(3):
        for column in range(3):
            total += squares[:, row : row + height, column : column + width]
    return x * (1.0 + alpha * total / 9.0) ** -beta


def fully_connected(x, weight, bias):
    """Rows of features (regions, in) to (regions, out)."""
    return x @ weight.T + bias


def softmax(logits, axis):
    exponentials = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)
