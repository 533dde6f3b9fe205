"""Data sets: from config keys to detectron2 dictionaries, what is malformed in them, loaders, the demo's shapes.

``shapes`` is not imported here, because it is also run by ``python -m frcnn_alt.data.shapes``.
"""

from .class_names import class_names_of, read_class_list
from .load import load_dataset_dicts
from .loader import (
    SeededBatchSampler,
    build_test_loader,
    build_train_loader,
    hash_dicts,
    load_training_dicts,
    seed_for,
)
from .problems import DatasetError, Problem
from .register import register_datasets
from .unreadable import SkippingLoader, UnreadableImages, forget_skipped_images, skipped_images
from .validate import check_datasets
from .worker import begin_worker

__all__ = [
    "DatasetError",
    "Problem",
    "SeededBatchSampler",
    "SkippingLoader",
    "UnreadableImages",
    "begin_worker",
    "build_test_loader",
    "build_train_loader",
    "check_datasets",
    "class_names_of",
    "forget_skipped_images",
    "hash_dicts",
    "load_dataset_dicts",
    "load_training_dicts",
    "read_class_list",
    "register_datasets",
    "seed_for",
    "skipped_images",
]
