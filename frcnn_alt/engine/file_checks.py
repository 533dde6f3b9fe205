"""Checks of the files that a config names: initial weights and mean image. Each problem names key, file and mend."""

import os
from typing import List

from detectron2.config import CfgNode

from ..checkpointing import missing_files
from ..modeling.mean_image import read_mean_image

__all__ = ["check_files"]

# Where the paper's own initial weights are, or were, to be had.
_WHERE_WEIGHTS = {
    "build_vgg16_backbone": (
        "The paper's are VGG_ILSVRC_16_layers.caffemodel of https://www.robots.ox.ac.uk/~vgg/research/very_deep/ ; "
        "torchvision's vgg16 (vgg16-397923af.pth) is another training of the same architecture. MODEL.WEIGHTS may name "
        "either file as it is."
    ),
    "build_zf_backbone": (
        "The paper's came with the MATLAB release and py-faster-rcnn, whose links are dead; who has the .caffemodel "
        "names it in MODEL.WEIGHTS as it is."
    ),
}


def _check_weights(cfg: CfgNode) -> List[str]:
    problems = []
    for path in missing_files(cfg.MODEL.WEIGHTS) if cfg.MODEL.WEIGHTS else ():
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        problems.append(
            f"MODEL.WEIGHTS: {path} {what}. "
            "Make it with `python tools/pretrain_backbone.py --config-file <this config>`, on an ImageNet-layout "
            "folder (PRETRAIN.DATA) or on crops of the training split; or name another file; or set it to '' to "
            f"train from random weights. {_WHERE_WEIGHTS.get(cfg.MODEL.BACKBONE.NAME, '')}".rstrip()
        )
    return problems


def _check_mean_image(cfg: CfgNode) -> List[str]:
    if not cfg.MODEL.PIXEL_MEAN_IMAGE:
        return []
    if cfg.MODEL.META_ARCHITECTURE not in ("FasterRCNN", "FasterRCNNProposalNetwork"):
        return [
            f"MODEL.PIXEL_MEAN_IMAGE is read by FasterRCNN, but MODEL.META_ARCHITECTURE is "
            f"{cfg.MODEL.META_ARCHITECTURE}: set the one to '' or the other to FasterRCNN."
        ]
    try:
        read_mean_image(cfg.MODEL.PIXEL_MEAN_IMAGE, cfg.INPUT.FORMAT)
    except ValueError as error:
        return [str(error)]
    return []


def check_files(cfg: CfgNode) -> List[str]:
    """Return what is wrong with the files that `cfg` names, one sentence each; empty when they can be read."""
    return _check_weights(cfg) + _check_mean_image(cfg)
