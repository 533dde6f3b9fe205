"""The training loader whose batches are a function of (seed, step, iteration), and the test loader.

detectron2's loader is a stream: which images are in batch 700, and how they are flipped, depends on the workers and on
what ran before. Here a batch sampler derives both from the seed, so that a run which is cut and resumed sees exactly
what an undisturbed one sees, with any number of workers. Mapping, augmentation, aspect-ratio grouping rule, filtering
and serialisation are detectron2's.
"""

import hashlib
import itertools
import json
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.data.build import filter_images_with_only_crowd_annotations, trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader

from .load import load_dataset_dicts
from .problems import has_usable_box, no_usable_box
from .seeded_dataset import SeededDataset, TrainLoader
from .unreadable import MappedOrUnreadable, SkippingLoader, UnreadableImage, UnreadableImages, skips_unreadable
from .worker import begin_worker

__all__ = [
    "SeededBatchSampler",
    "build_test_loader",
    "build_train_loader",
    "hash_dicts",
    "load_training_dicts",
    "seed_for",
]


def seed_for(*parts: int) -> int:
    """Mix whole numbers (seed, step, iteration, ...) into one 63-bit seed; close inputs give unrelated outputs."""
    low, high = np.random.SeedSequence([int(part) for part in parts]).generate_state(2, np.uint32)
    return (int(high) << 31) ^ int(low)


def load_training_dicts(cfg: CfgNode) -> List[Dict[str, Any]]:
    """Return the dictionaries of all of DATASETS.TRAIN in order, each with the name of its set as "dataset_name"."""
    return [{**d, "dataset_name": name} for name in cfg.DATASETS.TRAIN for d in load_dataset_dicts(name)]


def hash_dicts(dicts: List[Dict[str, Any]]) -> str:
    """Return the hex sha256 of what `dicts` say but for where the files lie: ids, sizes, boxes, classes, flags."""
    digest = hashlib.sha256()
    for record in dicts:
        said = {key: value for key, value in record.items() if key != "file_name"}
        digest.update(json.dumps(said, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class SeededBatchSampler:
    """Yields, without end, the batches of one process as lists of (image index, seed of its augmentation).

    Every epoch is a new permutation of all images. With aspect grouping, images wait in a portrait or a landscape
    group until a batch is full (PY, ML; what waits at an epoch's end goes on waiting).

    Args:
        is_landscape: for each image whether its width exceeds its height; all equal switches grouping off.
        images_per_batch: over all processes; process r of W takes each W-th image of a batch from the r-th on.
        seed: of the run and the step, e.g. ``seed_for(seed, step)``.
        start_iteration: the first batch to give; those before are skipped, not loaded.
    """

    def __init__(
        self,
        is_landscape: List[bool],
        images_per_batch: int,
        seed: int,
        *,
        start_iteration: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if images_per_batch % world_size != 0:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {images_per_batch}, which {world_size} processes cannot share equally: "
                "set it to a multiple of the number of processes."
            )
        self.is_landscape = is_landscape
        self.images_per_batch = images_per_batch
        self.seed = seed
        self.start_iteration = start_iteration
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[List[Tuple[int, int]]]:
        for iteration, batch in enumerate(self._batches()):
            if iteration >= self.start_iteration:
                seeded = [(index, seed_for(self.seed, iteration, place)) for place, index in enumerate(batch)]
                yield seeded[self.rank :: self.world_size]

    def _batches(self) -> Iterator[List[int]]:
        groups: Dict[bool, List[int]] = {True: [], False: []}
        for epoch in itertools.count():
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.is_landscape))
            for index in order.tolist():
                group = groups[self.is_landscape[index]]
                group.append(index)
                if len(group) == self.images_per_batch:
                    yield list(group)
                    group.clear()


def build_train_loader(
    cfg: CfgNode,
    dicts: List[Dict[str, Any]],
    mapper: Callable[[Dict[str, Any]], Dict[str, Any]],
    *,
    seed: int,
    start_iteration: int = 0,
) -> TrainLoader:
    """Build the endless training loader over `dicts`.

    Args:
        cfg: reads SOLVER.IMS_PER_BATCH and DATALOADER.{NUM_WORKERS, ASPECT_RATIO_GROUPING, FILTER_EMPTY_ANNOTATIONS,
            UNREADABLE_IMAGES, MAX_UNREADABLE_SHARE}.
        dicts: detectron2 data set dictionaries.
        mapper: dictionary -> model input, e.g. a DatasetMapper.
        seed: of the run and the step.
        start_iteration: where a resumed step goes on.

    Raises:
        DatasetError: no image has a usable box; while the batches are drawn, an image cannot be read, and is not to be
            skipped.
        ValueError: the processes cannot share a batch equally.
    """
    if not any(map(has_usable_box, dicts)):
        raise no_usable_box(cfg.DATASETS.TRAIN)
    unreadable = UnreadableImages(cfg, len(dicts))  # of all, as they were counted before the run
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        dicts = filter_images_with_only_crowd_annotations(dicts)
    grouping = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    is_landscape = [grouping and d["width"] > d["height"] for d in dicts]
    sampler = SeededBatchSampler(
        is_landscape,
        cfg.SOLVER.IMS_PER_BATCH,
        seed,
        start_iteration=start_iteration,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )
    loader = DataLoader(
        SeededDataset(dicts, mapper, is_landscape, skips_unreadable(cfg)),
        batch_sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
        worker_init_fn=begin_worker,
        persistent_workers=cfg.DATALOADER.NUM_WORKERS > 0,
        # The workers' base seed: without one of its own the loader draws from the global generator, when it likes.
        generator=torch.Generator().manual_seed(seed),
    )
    return TrainLoader(loader, unreadable)


def build_test_loader(
    cfg: CfgNode,
    dicts: List[Dict[str, Any]],
    mapper: Optional[Callable[[Dict[str, Any]], Dict[str, Any]]] = None,
    when_skipped: Optional[Callable[[UnreadableImage], None]] = None,
    unreadable: Optional[UnreadableImages] = None,
) -> SkippingLoader:
    """Build detectron2's test loader (one image a batch, in order, split over the processes) over `dicts`.

    Args:
        cfg: reads DATALOADER.{NUM_WORKERS, UNREADABLE_IMAGES, MAX_UNREADABLE_SHARE} and what the mapper reads.
        dicts: detectron2 data set dictionaries.
        mapper: dictionary -> model input; by default detectron2's for tests.
        when_skipped: called, when its turn comes, with each image that cannot be read and is skipped; else
            going through the loader ends with a DatasetError there.
        unreadable: counts them, where `dicts` are a part of a data set.
    """
    mapper = MappedOrUnreadable(mapper or DatasetMapper(cfg, is_train=False))
    loader = build_detection_test_loader(dicts, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS)
    loader.worker_init_fn = begin_worker
    return SkippingLoader(loader, unreadable or UnreadableImages(cfg, len(dicts)), when_skipped)
