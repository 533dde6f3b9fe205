"""Max pooling as Caffe does it (SPEC 1.1, 1.2): sizes rounded up, padding that never is the maximum."""

import numpy as np

from .pooling_sizes import pool_size


def max_pool(x: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Pool maps (N, C, Hi, Wi) window by window; the part of a window that lies outside the map is ignored."""
    height, width = (pool_size(n, kernel, stride, padding) for n in x.shape[2:])
    result = np.zeros((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            top, left = i * stride - padding, j * stride - padding
            window = x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            result[:, :, i, j] = window.max(axis=(2, 3))
    return result
