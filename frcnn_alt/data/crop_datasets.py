"""The two data sets of pre-training on crops: an endless one to train on, and a fixed one to measure accuracy.

Shapes: S is the side of a crop in pixels; classes are those of `CropSource`, background the last.
"""

from typing import Tuple

import numpy as np
import torch
from torch.utils.data import Dataset

from .crops import MAX_CONTEXT, CropSource

__all__ = ["TrainingCrops", "ValidationCrops"]

_STRIDE = 16  # sizes of batches are multiples of it


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(image.transpose(2, 0, 1)))


class TrainingCrops(Dataset):
    """Endless training set: item p belongs to batch p // batch_size and follows from (seed, p) alone.

    Args:
        source: where crops come from.
        seed: of the training.
        batch_size: images in a batch, over all processes; a batch has one size.
        background_fraction: share of each batch that shows background, in [0, 1).
        image_size: S, the largest side in pixels.
        min_scale: batches are shown at sides between min_scale * S and S (multiples of 16).
    """

    def __init__(
        self,
        source: CropSource,
        *,
        seed: int,
        batch_size: int,
        background_fraction: float,
        image_size: int,
        min_scale: float,
    ):
        self.source = source
        self.seed = seed
        self.batch_size = batch_size
        self.num_background = int(round(batch_size * background_fraction))
        smallest = max(int(np.ceil(image_size * min_scale / _STRIDE)) * _STRIDE, _STRIDE)
        self.sides = [*range(smallest, image_size, _STRIDE), image_size]

    def __getitem__(self, position: int) -> Tuple[torch.Tensor, int]:
        """Return a crop, (3, S, S) uint8, and its class."""
        iteration = position // self.batch_size
        side = self.sides[np.random.default_rng([self.seed, iteration]).integers(len(self.sides))]
        rng, (number, window, label) = self._draw(position)
        image = self.source.cut(number, window, side)
        if rng.random() < 0.5:
            image = image[:, ::-1]
        return _as_tensor(image), label

    def _draw(self, position: int) -> Tuple[np.random.Generator, Tuple[int, np.ndarray, int]]:
        iteration, place = divmod(position, self.batch_size)
        rng = np.random.default_rng([self.seed, iteration, place + 1])
        is_background = place < self.num_background
        return rng, (self.source.random_background if is_background else self.source.random_object)(rng)

    def file_of(self, position: int) -> str:
        """The image file that item `position` is cut from."""
        return self.source.dicts[self._draw(position)[1][0]]["file_name"]


class ValidationCrops(Dataset):
    """Fixed set for measuring accuracy: objects with middling context, and background windows in the same proportion.

    Args:
        source: of the test split.
        background_fraction, image_size: as for training.
        max_objects: at most so many objects, evenly spread over the set.
    """

    def __init__(self, source: CropSource, *, background_fraction: float, image_size: int, max_objects: int = 1000):
        self.source = source
        self.image_size = image_size
        step = max(1, -(-len(source.objects) // max_objects))
        self.items = [
            (number, source.object_window(box, MAX_CONTEXT**0.5, np.zeros(2)), label)
            for number, label, box in source.objects[::step]
        ]
        count = int(round(len(self.items) * background_fraction / (1 - background_fraction)))
        self.items += [source.random_background(np.random.default_rng([0, k])) for k in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tuple[torch.Tensor, int]:
        number, window, label = self.items[index]
        return _as_tensor(self.source.cut(number, window, self.image_size)), label
