"""Dropout of the two networks (SPEC 1.1, 1.2), given which elements were kept.

Non-inverted (ZF-net): training masks and does not rescale; test multiplies by the share that is kept.
Inverted (VGG-16): training divides what is kept by that share; test changes nothing.
"""

import numpy as np


def dropout_in_training(x: np.ndarray, kept: np.ndarray, p: float, inverted: bool) -> np.ndarray:
    """`x` where `kept`, 0 elsewhere; `p` is the probability of not being kept."""
    scale = 1.0 / (1.0 - p) if inverted else 1.0
    return np.where(kept, x * scale, 0.0)


def dropout_at_test(x: np.ndarray, p: float, inverted: bool) -> np.ndarray:
    """What the layer makes of `x` at test."""
    return x * 1.0 if inverted else x * (1.0 - p)
