"""A tiny untrained network, as a run leaves it, for drawing what it says."""

from pathlib import Path

from frcnn_alt import get_cfg

import torch
from detectron2.modeling import build_model

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("disc", "star")


def write_network(folder):
    """Write config.yaml and model_final.pth, the data set being gone; returns the config's path."""
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "Base-RCNN-ZF.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.06
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(CLASSES)
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32, 64]]
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    cfg.INPUT.MIN_SIZE_TEST = 84
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(folder / "data that is on another machine")
    cfg.DATASETS.VOC_LAYOUT.CLASSES = CLASSES
    torch.manual_seed(5)
    torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml"
