"""Cross-key checks of a config: all of them, in one place, before anything is built. Each names key and mend."""

import os
from typing import List

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads.box_head import ROI_BOX_HEAD_REGISTRY
from detectron2.utils import comm

from ..checkpointing import NEW
from .schedule import SCHEDULE_REGISTRY
from .trainer_registry import TRAINER_REGISTRY

__all__ = ["check_config"]

_ALLOWED = {
    "MODEL.RPN.BBOX_REG_NORMALIZER": ("locations", "samples"),
    "MODEL.RPN.BBOX_REG_STATISTICS": ("measured", "none"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS": ("per_class", "fixed"),
    "SCHEDULE.STEP4_BOX_PREDICTOR": ("step2_fast_rcnn", NEW),
    "SCHEDULE.STEP3_RPN_HEAD": (NEW, "step1_rpn"),
    "DATASETS.MALFORMED": ("stop", "leave_out"),
}

_REGISTERED = {
    "TRAINER": TRAINER_REGISTRY,
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


def _check_box_head(cfg: CfgNode) -> List[str]:
    problems = []
    head = cfg.MODEL.ROI_BOX_HEAD
    if cfg.MODEL.ROI_HEADS.NAME != "FasterRCNNROIHeads":
        return problems  # stock heads read none of these keys
    if head.POOLER_INCLUSIVE_CORNERS and head.POOLER_TYPE != "ROIPool":
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
    problems = _check_names(cfg) + _check_box_head(cfg)
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
        problems.append(
            f"MODEL.WEIGHTS: {cfg.MODEL.WEIGHTS} does not exist. Make it with `python tools/pretrain_backbone.py "
            "--config-file <this config>` (with an ImageNet-layout folder as PRETRAIN.DATA for real ImageNet weights), "
            "name another file, or set it to '' to train from random weights."
        )
    return problems
