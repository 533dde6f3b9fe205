"""Local response normalisation within a channel (SPEC 1.1): y = x * (1 + alpha * m) ** -beta.

m is the mean of x^2 over a square window of the same channel; cells outside the map are zeros that count, so that the
divisor is always the area of the window.
"""

import numpy as np


def spatial_lrn(x: np.ndarray, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> np.ndarray:
    """Normalise maps (N, C, Hi, Wi)."""
    radius = size // 2
    result = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*x.shape):
        total = 0.0
        for row in range(i - radius, i + radius + 1):
            for column in range(j - radius, j + radius + 1):
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    total += float(x[n, c, row, column]) ** 2
        result[n, c, i, j] = x[n, c, i, j] * (1 + alpha * total / size**2) ** -beta
    return result


def spatial_lrn_gradient(x: np.ndarray, upstream: np.ndarray, step: float = 1e-3, **rule) -> np.ndarray:
    """Gradient of sum(upstream * spatial_lrn(x)) by central differences of width `step`."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[index] += step
        down[index] -= step
        difference = spatial_lrn(up, **rule) - spatial_lrn(down, **rule)
        gradient[index] = (upstream * difference).sum() / (2 * step)
    return gradient
