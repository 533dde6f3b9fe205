"""What pre-training trains on, opened from PRETRAIN.DATA, and a hash that tells whether two runs would do the same."""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np
from detectron2.config import CfgNode
from torch.utils.data import Dataset

from ..data import check_datasets, load_dataset_dicts
from ..data.crop_datasets import TrainingCrops, ValidationCrops
from ..data.crops import CropSource
from ..data.image_folder import TrainingImages, ValidationImages, check_folders, open_image_folder
from ..modeling.mean_image import check_channels, read_mean_image
from .defaults import ConfigError

__all__ = ["ClassificationData", "open_classification_data", "pretraining_hash"]


@dataclass
class ClassificationData:
    """A classification set.

    Attributes:
        train: endless; item p is (image (3, S, S) uint8, class) and follows from (seed, p).
        test: the same of fixed length, or None where the config names no test split.
        classes: their names.
        digest: hex sha256 over what the images and labels are, as far as names, sizes and boxes tell.
    """

    train: Dataset
    test: Optional[Dataset]
    classes: List[str]
    digest: str


def _sha256(description: Any) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _describe(dicts: List[Dict[str, Any]]) -> List[Any]:
    return [
        [
            os.path.basename(record["file_name"]),
            os.path.getsize(record["file_name"]),
            [[list(map(float, a["bbox"])), a["category_id"], a.get("iscrowd", 0)] for a in record["annotations"]],
        ]
        for record in dicts
    ]


def _mean_image(cfg: CfgNode) -> Optional[np.ndarray]:
    """What MODEL.PIXEL_MEAN_IMAGE holds, H x W x C in the order of INPUT.FORMAT; None where it is empty."""
    if not cfg.MODEL.PIXEL_MEAN_IMAGE:
        return None
    try:
        mean_image = read_mean_image(cfg.MODEL.PIXEL_MEAN_IMAGE, cfg.INPUT.FORMAT)
        check_channels(mean_image, cfg.MODEL.PIXEL_MEAN)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return mean_image


def _open_crops(cfg: CfgNode, seed: int) -> ClassificationData:
    from detectron2.data import MetadataCatalog

    if not cfg.DATASETS.TRAIN:
        raise ConfigError("PRETRAIN.DATA is 'crops', but the config names no detection data set (DATASETS.*)")
    check_datasets(cfg)
    mean_image = _mean_image(cfg)
    pixel_mean = cfg.MODEL.PIXEL_MEAN if mean_image is None else mean_image.mean(axis=(0, 1)).tolist()

    def source(names: List[str]) -> CropSource:
        return CropSource(
            [record for name in names for record in load_dataset_dicts(name)],
            cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            shortest_edge=max(cfg.INPUT.MIN_SIZE_TRAIN),
            max_size=cfg.INPUT.MAX_SIZE_TRAIN,
            image_format=cfg.INPUT.FORMAT,
            pixel_mean=pixel_mean,
        )

    background, size = cfg.PRETRAIN.BACKGROUND_FRACTION, cfg.PRETRAIN.IMAGE_SIZE
    training = source(cfg.DATASETS.TRAIN)
    if cfg.DATALOADER.NUM_WORKERS > 0:
        training.fill_cache()  # before the workers are forked, which then share it
    train = TrainingCrops(
        training,
        seed=seed,
        batch_size=cfg.PRETRAIN.BATCH_SIZE,
        background_fraction=background,
        image_size=size,
        min_scale=cfg.PRETRAIN.MIN_SCALE,
    )
    test = None
    if cfg.DATASETS.TEST:
        test = ValidationCrops(source(cfg.DATASETS.TEST), background_fraction=background, image_size=size)
    classes = list(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).thing_classes)
    return ClassificationData(
        train, test, classes + ["background"] if background > 0 else classes, _sha256(_describe(training.dicts))
    )


def _open_folder(cfg: CfgNode, seed: int) -> ClassificationData:
    root, size, image_format = cfg.PRETRAIN.DATA, cfg.PRETRAIN.IMAGE_SIZE, cfg.INPUT.FORMAT
    training, validation = open_image_folder(root, "train"), open_image_folder(root, "val")
    if training.classes != validation.classes:
        differing = sorted(set(training.classes) ^ set(validation.classes))
        raise ConfigError(f"PRETRAIN.DATA: {root}/train and {root}/val differ in classes, e.g. {differing[:3]}")
    check_folders(training, validation)
    names = [[os.path.relpath(path, root), label] for path, label in training.samples]
    return ClassificationData(
        TrainingImages(training, seed=seed, image_size=size, image_format=image_format),
        ValidationImages(validation, image_size=size, image_format=image_format),
        list(training.classes),
        _sha256(names),
    )


def open_classification_data(cfg: CfgNode, seed: int) -> ClassificationData:
    """Open what PRETRAIN.DATA names: "crops" of DATASETS.TRAIN, else an ImageNet-layout folder.

    Raises:
        ConfigError: the keys contradict each other, the mean image is unusable, or INPUT.FORMAT is neither "BGR" nor
            "RGB".
        DatasetError: no data, malformed data, or a folder of another layout.
    """
    if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
        raise ConfigError(f"Pre-training knows INPUT.FORMAT 'BGR' and 'RGB', not {cfg.INPUT.FORMAT!r}")
    return (_open_crops if cfg.PRETRAIN.DATA == "crops" else _open_folder)(cfg, seed)


def pretraining_hash(cfg: CfgNode, seed: int, data: ClassificationData) -> str:
    """Hash all that decides the weights: network, input, data, schedule and seed; not devices, workers or paths.

    Raises:
        ConfigError: the mean image is unusable.
    """
    pretrain = {key: value for key, value in cfg.PRETRAIN.items() if key != "DATA"}
    crops = cfg.PRETRAIN.DATA == "crops"
    mean_image = _mean_image(cfg)  # its numbers count; they stand in place of PIXEL_MEAN
    pixel_mean = cfg.MODEL.PIXEL_MEAN if mean_image is None else _sha256(mean_image.tolist())
    return _sha256(
        {
            "backbone": cfg.MODEL.BACKBONE,
            "roi_heads": [cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_HEADS.IN_FEATURES],
            "box_head": cfg.MODEL.ROI_BOX_HEAD,
            "pixels": [pixel_mean, cfg.MODEL.PIXEL_STD, cfg.INPUT.FORMAT],
            "detection_size": [cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN] if crops else None,
            "solver": [cfg.SOLVER.GAMMA, cfg.SOLVER.BIAS_LR_FACTOR],
            "pretrain": pretrain,
            "classes": data.classes,
            "data": data.digest,
            "seed": seed,
        }
    )
