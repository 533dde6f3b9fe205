"""The batch is a function of (seed, iteration)."""

import itertools

from frcnn_alt.config import get_cfg
from frcnn_alt.data import DatasetError, SeededBatchSampler, build_train_loader, seed_for

import numpy as np
import pytest


def _take(sampler, count):
    return list(itertools.islice(iter(sampler), count))


def test_starting_later_gives_the_same_batches():
    landscape = [i % 3 == 0 for i in range(11)]
    whole = _take(SeededBatchSampler(landscape, 2, seed=5), 40)
    for start in (1, 6, 17):
        assert _take(SeededBatchSampler(landscape, 2, seed=5, start_iteration=start), 40 - start) == whole[start:]
    assert _take(SeededBatchSampler(landscape, 2, seed=6), 40) != whole


def test_processes_share_the_batches_of_one():
    whole = _take(SeededBatchSampler([True] * 7, 4, seed=1), 20)
    parts = [_take(SeededBatchSampler([True] * 7, 4, seed=1, rank=r, world_size=2), 20) for r in (0, 1)]
    assert all(sorted(a + b) == sorted(w) for a, b, w in zip(*parts, whole))


def test_batches_are_of_one_orientation_and_every_image_comes_once_an_epoch():
    landscape = [i < 6 for i in range(10)]
    batches = _take(SeededBatchSampler(landscape, 2, seed=2), 50)
    assert all(len({landscape[index] for index, _ in batch}) == 1 for batch in batches)
    counts = np.bincount([index for batch in batches for index, _ in batch], minlength=10)
    assert counts.tolist() == [10] * 10  # 6 and 4 are even, so nothing waits at the end of an epoch


def test_seeds_of_all_images_differ():
    seeds = [seed for batch in _take(SeededBatchSampler([True] * 5, 2, seed=3), 100) for _, seed in batch]
    assert len(set(seeds)) == len(seeds)
    assert seed_for(1, 2) != seed_for(2, 1)


def test_batch_that_cannot_be_shared_names_the_key():
    with pytest.raises(ValueError, match="SOLVER.IMS_PER_BATCH"):
        SeededBatchSampler([True], 3, seed=0, world_size=2)


def _draws(workers, start=0):
    cfg = get_cfg()
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.DATALOADER.NUM_WORKERS = workers
    dicts = [{"id": i, "width": 2, "height": 1, "annotations": [{"iscrowd": 0}]} for i in range(6)]
    loader = build_train_loader(cfg, dicts, _draw, seed=9, start_iteration=start)
    return list(itertools.islice(iter(loader), 8 - start))


def _draw(image):
    return image["id"], float(np.random.uniform())  # as detectron2's augmentations draw


def test_a_square_counts_as_portrait():
    cfg = get_cfg()
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 2, 0
    sizes = {"landscape": (3, 2), "square": (2, 2), "portrait": (2, 3)}
    dicts = [
        {"id": name, "width": width, "height": height, "annotations": [{"iscrowd": 0}]}
        for name, (width, height) in sizes.items()
        for _ in range(3)
    ]
    loader = build_train_loader(cfg, dicts, lambda image: image["id"], seed=1)
    batches = {tuple(sorted(batch)) for batch in itertools.islice(iter(loader), 60)}
    assert batches == {("landscape",) * 2, ("portrait",) * 2, ("portrait", "square"), ("square",) * 2}


def test_augmentations_do_not_depend_on_workers_or_on_a_resume():
    alone = _draws(0)
    assert _draws(2) == alone
    assert _draws(0, start=3) == alone[3:]
    assert len({number for batch in alone for _, number in batch}) == 16


def test_loader_leaves_the_global_generator_alone():
    np.random.seed(4)
    expected = np.random.RandomState(4).uniform()
    _draws(0)
    assert np.random.uniform() == expected


@pytest.mark.parametrize("filter_empty", [True, False])
def test_no_usable_image_is_an_error(filter_empty):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("mine", "yours")
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = filter_empty
    dicts = [{"width": 2, "height": 1, "annotations": [{"iscrowd": 1}]}, {"width": 2, "height": 1, "annotations": []}]
    with pytest.raises(DatasetError, match="mine, yours"):
        build_train_loader(cfg, dicts, _draw, seed=0)
