"""The two losses of the region proposal network and their gradients in closed form (equation 1, SPEC 4.4).

Classification: the negative logarithm of the two-class softmax probability of an anchor's label, averaged over the
sampled anchors of the image.

Regression: over the positive anchors of the image, smooth L1 of the four differences between predicted and target
deltas, times lambda over N_reg.
    MATLAB, the paper: lambda 10, N_reg the number of cells of the feature map, sigma 1, targets less their mean and
        divided by their deviation.
    py-faster-rcnn: lambda 1, N_reg the number of sampled anchors, sigma 3, targets as they are.
"""

import math

import numpy as np

from .anchor_labels import IGNORED, NEGATIVE, POSITIVE
from .box_coding import encode


def softmax(background, foreground):
    """The two probabilities of an anchor."""
    highest = max(background, foreground)
    exponentials = math.exp(background - highest), math.exp(foreground - highest)
    return tuple(value / sum(exponentials) for value in exponentials)


def smooth_l1(x, sigma):
    """(value, slope): 0.5 (sigma x)^2 where |x| < 1 / sigma^2, else |x| - 0.5 / sigma^2."""
    if abs(x) < 1 / sigma**2:
        return 0.5 * (sigma * x) ** 2, sigma**2 * x
    return abs(x) - 0.5 / sigma**2, math.copysign(1.0, x)


def classification_loss(class_scores, labels):
    """Loss of an image and its gradient, which has the shape of `class_scores`.

    Args:
        class_scores: (R, 2), background and foreground before softmax.
        labels: (R,), -1 is not sampled.
    """
    sampled = [index for index, label in enumerate(labels) if label != IGNORED]
    loss, gradient = 0.0, np.zeros((len(labels), 2))
    for index in sampled:
        probabilities = softmax(*(float(score) for score in class_scores[index]))
        label = int(labels[index])
        assert label in (NEGATIVE, POSITIVE)
        loss -= math.log(probabilities[label]) / len(sampled)
        for which in (NEGATIVE, POSITIVE):
            gradient[index, which] = (probabilities[which] - (which == label)) / len(sampled)
    return loss, gradient


def regression_loss(deltas, anchors, objects, labels, *, weight, normalizer, sigma, mean, std):
    """Loss of an image and its gradient, which has the shape of `deltas`.

    Args:
        deltas: (R, 4), what the network predicts.
        anchors: R boxes, inclusive pixels.
        objects: R boxes, those matched to the anchors; only the positive ones are looked at.
        labels: (R,).
        weight: lambda.
        normalizer: N_reg, a number.
        mean, std: four numbers each, of the targets.
    """
    loss, gradient = 0.0, np.zeros((len(labels), 4))
    for index, label in enumerate(labels):
        if label != POSITIVE:
            continue
        target = encode(anchors[index], objects[index])
        for axis in range(4):
            difference = float(deltas[index][axis]) - (target[axis] - mean[axis]) / std[axis]
            value, slope = smooth_l1(difference, sigma)
            loss += weight * value / normalizer
            gradient[index, axis] = weight * slope / normalizer
    return loss, gradient
