"""The training images as a torch data set whose items follow from (index, seed), and what takes the place of one that
cannot be read.
"""

import random
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np
from detectron2.data import DatasetFromList
from torch.utils.data import DataLoader, Dataset

from .unreadable import MappedOrUnreadable, UnreadableImage, UnreadableImages

__all__ = ["SeededDataset", "TrainLoader"]

_MOST_SUBSTITUTES = 20  # that are tried in the place of one unreadable image


class _Place(NamedTuple):
    """One place of a batch: a mapped image, and the images that could not be read before it.

    With nothing mapped, the last of these has no substitute.
    """

    mapped: Any
    unreadable: Tuple[UnreadableImage, ...] = ()


class SeededDataset(Dataset):
    """Maps (index, seed) to a `_Place`; the random generators that augmentations draw from are set to the seed.

    Args:
        dicts: detectron2 data set dictionaries.
        mapper: dictionary -> model input.
        is_landscape: as of the batch sampler.
        substitutes: whether another image of the same orientation, drawn from the seed, takes the place of one that
            cannot be read.
    """

    def __init__(
        self,
        dicts: List[Dict[str, Any]],
        mapper: Callable[[Dict[str, Any]], Dict[str, Any]],
        is_landscape: List[bool],
        substitutes: bool,
    ):
        self.dicts = DatasetFromList(dicts, copy=False)
        self.mapper = MappedOrUnreadable(mapper)
        self.is_landscape = np.array(is_landscape)
        self.substitutes = substitutes

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, item: Tuple[int, int]) -> _Place:
        index, seed = item
        unreadable: List[UnreadableImage] = []
        others: Optional[Iterator[int]] = None
        while True:
            mapped = self._map(index, seed)
            if not isinstance(mapped, UnreadableImage):
                return _Place(mapped, tuple(unreadable))
            unreadable.append(mapped)
            others = self._others(index, seed) if others is None else others
            index = next(others) if self.substitutes and len(unreadable) <= _MOST_SUBSTITUTES else None
            if index is None:
                return _Place(None, tuple(unreadable))

    def _map(self, index: int, seed: int) -> Union[Any, UnreadableImage]:
        states = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            return self.mapper(self.dicts[index])  # unpickled anew at each access
        finally:  # without workers this is the main process: leave its generators as they were
            random.setstate(states[0])
            np.random.set_state(states[1])

    def _others(self, index: int, seed: int) -> Iterator[Optional[int]]:
        """The other images of the orientation of an image, if there are any, in an order that follows from the seed."""
        same = np.flatnonzero(self.is_landscape == self.is_landscape[index])
        yield from (int(other) for other in np.random.default_rng(seed).permutation(same) if other != index)
        yield None


class TrainLoader:
    """The batches of a `SeededDataset`, without end; see `build_train_loader`.

    Args:
        loader: over a `SeededDataset`.
        unreadable: told of each image that cannot be read, before the batch is handed out that should have had it.
    """

    def __init__(self, loader: DataLoader, unreadable: UnreadableImages):
        self.loader = loader
        self.unreadable = unreadable

    @property
    def dataset(self) -> Dataset:
        """What is loaded."""
        return self.loader.dataset

    def __iter__(self) -> Iterator[List[Any]]:
        for batch in self.loader:
            for place in batch:
                for image in place.unreadable:
                    self.unreadable.meet(image)
                if place.mapped is None:
                    self.unreadable.refuse(place.unreadable[-1])
            yield [place.mapped for place in batch]
