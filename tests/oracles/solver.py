"""Stochastic gradient descent as Caffe does it, and its step policy (SPEC 6.1)."""

from typing import List, Sequence

import numpy as np


def step_rate(iteration: int, base: float, drops: Sequence[int], gamma: float = 0.1) -> float:
    """The learning rate of an iteration, counted from 0: `base`, times `gamma` from each drop on, never warmed up."""
    rate = base
    for drop in drops:
        if iteration >= drop:
            rate *= gamma
    return rate


def descend(
    start: np.ndarray,
    gradients: Sequence[np.ndarray],
    rates: Sequence[float],
    *,
    momentum: float = 0.9,
    decay: float = 0.0005,
    rate_in_history: bool = True,
) -> List[np.ndarray]:
    """The weights after each iteration, in float64, from a history that is zero.

    Args:
        start: the weights before the first iteration.
        gradients: of the loss alone, one an iteration.
        rates: learning rate of each iteration, bias factor included.
        momentum: share of the history that stays.
        decay: of the weights, added to the gradient.
        rate_in_history: True as Caffe, whose history holds updates that are scaled by the rates of their own time;
            False for a history of gradients, which differs only after a change of the rate (SPEC 6.1).
    """
    weights, history, path = np.array(start, dtype=np.float64), np.zeros(np.shape(start)), []
    for gradient, rate in zip(gradients, rates):
        gradient = np.asarray(gradient, dtype=np.float64) + decay * weights
        if rate_in_history:
            history = momentum * history + rate * gradient
            weights = weights - history
        else:
            history = momentum * history + gradient
            weights = weights - rate * history
        path.append(weights)
    return path
