"""Pre-training in miniature: a folder of coloured noise or crops of generated images, a fraction of ZF-net."""

import os

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data import register_datasets

import numpy as np
from PIL import Image

REPOSITORY = os.path.join(os.path.dirname(__file__), "..", "..")
HUES = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def pretraining_config(net="ZF", **pretrain_keys):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(REPOSITORY, "configs", f"Base-RCNN-{net}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.08
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 200
    for key, value in {"IMAGE_SIZE": 32, "MIN_SCALE": 1.0, "BATCH_SIZE": 8, "MAX_ITER": 8, "STEPS": (6,)}.items():
        cfg.PRETRAIN[key] = value
    for key, value in pretrain_keys.items():
        cfg.PRETRAIN[key] = value
    return cfg


def write_image_folder(root):
    """Three classes that differ in hue, under noise; 12 + 4 images a class. Returns the folder, `root`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name, hue in HUES.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(hue) + rng.normal(0, 60, (40, 48, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")
    return str(root)


def crops_config(shapes_root, **keys):
    cfg = pretraining_config(**keys)
    cfg.DATASETS.VOC_LAYOUT.ROOT = shapes_root
    register_datasets(cfg)
    return cfg


def saved_weights(path):
    return read_checkpoint(path)["model"]
