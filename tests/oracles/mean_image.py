"""The network's input where a mean image is subtracted (SPEC 2): resized to the image bilinearly, without antialiasing.

Rule: image less mean image, over the standard deviation; then zeros to the right and below, to make a batch.
"""

from typing import Sequence

import numpy as np

from .image_size import bilinear


def network_input(images: Sequence[np.ndarray], mean_image: np.ndarray, std: Sequence[float]) -> np.ndarray:
    """The batch (N, C, H, W) of `images`, each (C, Hi, Wi); `mean_image` is (Hm, Wm, C)."""
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    batch = np.zeros((len(images), mean_image.shape[2], height, width))
    for index, image in enumerate(images):
        _, h, w = image.shape
        mean = bilinear(mean_image.astype(np.float64), h, w).transpose(2, 0, 1)
        batch[index, :, :h, :w] = (image.astype(np.float64) - mean) / np.asarray(std, np.float64)[:, None, None]
    return batch
