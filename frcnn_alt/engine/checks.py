"""Cross-key checks of a config: all of them, in one place, before anything is built. Each names key and mend."""

import os
from typing import List

import torch
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads.box_head import ROI_BOX_HEAD_REGISTRY
from detectron2.utils import comm

from ..checkpointing import NEW
from .schedule import SCHEDULE_REGISTRY

__all__ = ["check_config"]

_ALLOWED = {
    "MODEL.RPN.BBOX_REG_NORMALIZER": ("locations", "samples"),
    "MODEL.RPN.BBOX_REG_STATISTICS": ("measured", "none"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS": ("per_class", "fixed"),
    "SCHEDULE.STEP4_BOX_PREDICTOR": ("step2_fast_rcnn", NEW),
    "SCHEDULE.STEP3_RPN_HEAD": (NEW, "step1_rpn"),
    "DATASETS.MALFORMED": ("stop", "leave_out"),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIPool", "ROIAlign", "ROIAlignV2"),
    "INPUT.FORMAT": ("BGR", "RGB"),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupCosineLR"),
}

# Where the paper's own initial weights are, or were, to be had.
_WHERE_WEIGHTS = {
    "build_vgg16_backbone": (
        "The paper's are VGG_ILSVRC_16_layers.caffemodel of https://www.robots.ox.ac.uk/~vgg/research/very_deep/ ; "
        "Caffe's format has to be converted, which this package does not do yet."
    ),
    "build_zf_backbone": (
        "The paper's came with the MATLAB release and py-faster-rcnn, whose links are dead; and Caffe's format has to "
        "be converted, which this package does not do yet."
    ),
}

_REGISTERED = {
    "SCHEDULE.NAME": SCHEDULE_REGISTRY,
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
}


def _value(cfg: CfgNode, key: str):
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _check_names(cfg: CfgNode) -> List[str]:
    problems = []
    for key, allowed in _ALLOWED.items():
        if _value(cfg, key) not in allowed:
            problems.append(f"{key} is {_value(cfg, key)!r}; it is one of {', '.join(map(repr, allowed))}.")
    for key, registry in _REGISTERED.items():
        name = _value(cfg, key)
        stock_without_entry = name in ("PrecomputedProposals", "")
        if not stock_without_entry and name not in registry:
            names = sorted(registered for registered, _ in registry)
            problems.append(f"{key} is {name!r}, which is not registered; registered are {', '.join(names)}.")
    return problems


def _check_numbers(cfg: CfgNode) -> List[str]:
    problems = []
    if not cfg.INPUT.MIN_SIZE_TRAIN or min(cfg.INPUT.MIN_SIZE_TRAIN) < 1:
        problems.append(f"INPUT.MIN_SIZE_TRAIN is {cfg.INPUT.MIN_SIZE_TRAIN}: it takes at least one size, in pixels.")
    if cfg.DATALOADER.NUM_WORKERS < 0:
        problems.append(f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}: it must be 0 or more.")
    if cfg.SOLVER.CHECKPOINT_PERIOD < 1:
        problems.append(f"SOLVER.CHECKPOINT_PERIOD is {cfg.SOLVER.CHECKPOINT_PERIOD}: it must be 1 or more.")
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        problems.append(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}: it takes torch's names, 'cuda', 'cuda:1' or 'cpu'.")
    return problems


def _check_box_head(cfg: CfgNode) -> List[str]:
    problems = []
    head = cfg.MODEL.ROI_BOX_HEAD
    if cfg.MODEL.ROI_HEADS.NAME != "FasterRCNNROIHeads":
        return problems  # stock heads read none of these keys
    if head.POOLER_INCLUSIVE_CORNERS and head.POOLER_TYPE.startswith("ROIAlign"):
        problems.append(
            f"MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS is for ROIPool, but POOLER_TYPE is {head.POOLER_TYPE}, "
            "which expects continuous corners: set POOLER_INCLUSIVE_CORNERS False."
        )
    if head.BBOX_REG_STATISTICS == "per_class":
        if head.CLS_AGNOSTIC_BBOX_REG:
            problems.append(
                "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG has no classes to measure: set BBOX_REG_STATISTICS 'fixed'."
            )
        if tuple(head.BBOX_REG_WEIGHTS) != (1.0, 1.0, 1.0, 1.0):
            problems.append(
                f"MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS {tuple(head.BBOX_REG_WEIGHTS)} would scale targets that "
                "BBOX_REG_STATISTICS 'per_class' normalises already: set the weights to (1.0, 1.0, 1.0, 1.0), or the "
                "statistics to 'fixed'."
            )
    return problems


def _check_schedule(cfg: CfgNode) -> List[str]:
    problems = []
    world_size = comm.get_world_size()
    for name, node in cfg.SCHEDULE.items():
        if not name.startswith("STEP") or not isinstance(node, CfgNode):
            continue
        if node.MAX_ITER < 1:
            problems.append(f"SCHEDULE.{name}.MAX_ITER is {node.MAX_ITER}: a step needs at least 1 iteration.")
        if list(node.STEPS) != sorted(set(node.STEPS)):
            problems.append(f"SCHEDULE.{name}.STEPS is {node.STEPS}: it takes iterations in rising order.")
        if node.BASE_LR <= 0:
            problems.append(f"SCHEDULE.{name}.BASE_LR is {node.BASE_LR}: it must be above 0.")
        if node.IMS_PER_BATCH < 1 or node.IMS_PER_BATCH % world_size:
            problems.append(
                f"SCHEDULE.{name}.IMS_PER_BATCH is {node.IMS_PER_BATCH}: it must be a multiple of the number of "
                f"processes, {world_size}."
            )
        if len(node.OPTS) % 2:
            problems.append(f"SCHEDULE.{name}.OPTS holds {len(node.OPTS)} entries; it takes 'KEY', value pairs.")
        else:
            try:
                cfg.clone().merge_from_list(list(node.OPTS))
            except (KeyError, AssertionError, ValueError) as error:
                problems.append(f"SCHEDULE.{name}.OPTS: {error}")
    return problems


def check_config(cfg: CfgNode) -> List[str]:
    """Return everything that is wrong with the keys of `cfg`, one sentence each; empty when they agree."""
    problems = _check_names(cfg) + _check_numbers(cfg) + _check_box_head(cfg)
    if cfg.TRAINER == "AlternatingTrainer":
        problems += _check_schedule(cfg)
        if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
            problems.append(
                "MODEL.PROPOSAL_GENERATOR.NAME is PrecomputedProposals: a schedule with RPN steps needs an RPN."
            )
    if not cfg.DATASETS.TRAIN:
        problems.append(
            "DATASETS.TRAIN is empty: name registered data sets there, or set DATASETS.VOC_LAYOUT.ROOT or "
            "DATASETS.COCO_JSON.TRAIN_JSON."
        )
    if cfg.MODEL.WEIGHTS and not os.path.isfile(cfg.MODEL.WEIGHTS):
        what = "is a folder" if os.path.isdir(cfg.MODEL.WEIGHTS) else "does not exist"
        problems.append(
            f"MODEL.WEIGHTS: {cfg.MODEL.WEIGHTS} {what}. "
            "Make it with `python tools/pretrain_backbone.py --config-file <this config>`, on an ImageNet-layout "
            "folder (PRETRAIN.DATA) or on crops of the training split; or name another file; or set it to '' to train "
            f"from random weights. {_WHERE_WEIGHTS.get(cfg.MODEL.BACKBONE.NAME, '')}".rstrip()
        )
    return problems
