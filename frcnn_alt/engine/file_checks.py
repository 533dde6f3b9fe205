"""Checks of the files that a config names: initial weights and mean image. Each problem names key, file and mend."""

import os
from typing import Dict, List, Sequence

from detectron2.config import CfgNode

from ..checkpointing import is_remote, missing_files, weight_files
from ..modeling.mean_image import read_mean_image

__all__ = ["check_files", "given_files", "overwritten_file_problems"]

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
        if os.path.basename(path) == "model_final.pth":
            problems.append(
                f"MODEL.WEIGHTS: {path} {what}. It is called as the final network of a run is: train that first, with "
                f"OUTPUT_DIR {os.path.dirname(path) or '.'}, or name another detector's file."
            )
            continue
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


def given_files(cfg: CfgNode) -> Dict[str, str]:
    """SCHEDULE.STEPn.GIVEN -> its value, for each step that has one."""
    nodes = {name: node for name, node in cfg.SCHEDULE.items() if isinstance(node, CfgNode)}
    return {f"SCHEDULE.{name}.GIVEN": node.GIVEN for name, node in nodes.items() if node.get("GIVEN")}


def overwritten_file_problems(cfg: CfgNode, steps: Sequence[str] = ()) -> List[str]:
    """Return which files that `cfg` starts from are files that its run writes itself, one sentence each.

    Args:
        cfg: the run's config.
        steps: names of its steps, which have a folder each.
    """
    own = [os.path.realpath(os.path.join(cfg.OUTPUT_DIR, name)) for name in ("model_final.pth", *steps)]
    problems = []
    for key, value in {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS, **given_files(cfg)}.items():
        files = [os.path.realpath(file) for file in weight_files(value) if file and not is_remote(file)]
        if any(f"{file}{os.sep}".startswith(f"{place}{os.sep}") for file in files for place in own):
            problems.append(
                f"{key} {value} is where this run writes itself: copy the file, or choose another OUTPUT_DIR."
            )
    return problems
