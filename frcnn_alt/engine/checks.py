"""Cross-key checks of a config: all of them, in one place, before anything is built. Each names key and mend."""

from typing import List

import torch
from detectron2.config import CfgNode
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    ProposalNetwork,
    build_backbone,
)
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads.box_head import ROI_BOX_HEAD_REGISTRY
from detectron2.utils import comm

from ..checkpointing import NEW
from .box_head_checks import box_head_problems
from .file_checks import check_files, given_files
from .joint_checks import proposal_gradient_problems
from .loss_weights import loss_weight_problems
from .one_stage_checks import pyramid_problems
from .schedule import SCHEDULE_REGISTRY, steps_of
from .solver_checks import schedule_problems, solver_problems
from .step import with_solver_of
from .switch_checks import final_network, proposal_switch_problems
from .value_checks import value_problems

__all__ = ["check_config"]

_ALLOWED = {
    "MODEL.BBOX_DECODING": ("inverse", "one_pixel_larger"),
    "MODEL.RPN.BBOX_REG_NORMALIZER": ("locations", "samples"),
    "MODEL.RPN.BBOX_REG_STATISTICS": ("measured", "none"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS": ("per_class", "fixed"),
    "SCHEDULE.STEP4_BOX_PREDICTOR": ("step2_fast_rcnn", NEW),
    "SCHEDULE.STEP3_RPN_HEAD": (NEW, "step1_rpn"),
    "SCHEDULE.PROPOSALS.FLIPPED_IMAGES": ("recomputed", "mirrored"),
    "SCHEDULE.SOLVER_OF_STEPS": ("own", "SOLVER"),
    "DATASETS.MALFORMED": ("stop", "leave_out"),
    "DATALOADER.UNREADABLE_IMAGES": ("stop", "skip"),
    "MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS": ("clipped_coordinates", "clipped_boxes"),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIPool", "ROIAlign", "ROIAlignV2", "ROIWarp"),
    "INPUT.FORMAT": ("BGR", "RGB"),
    "INPUT.RANDOM_FLIP": ("horizontal", "vertical", "none"),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupCosineLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
}

_REGISTERED = {
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


def _check_names(cfg: CfgNode, trains_by_schedule: bool) -> List[str]:
    problems = []
    for key, allowed in _ALLOWED.items():
        if _value(cfg, key) not in allowed:
            problems.append(f"{key} is {_value(cfg, key)!r}; it is one of {', '.join(map(repr, allowed))}.")
    schedule = {"SCHEDULE.NAME": SCHEDULE_REGISTRY} if trains_by_schedule else {}
    for key, registry in {**schedule, **_REGISTERED}.items():
        name = _value(cfg, key)
        stock_without_entry = name in ("PrecomputedProposals", "")
        if not stock_without_entry and name not in registry:
            names = sorted(registered for registered, _ in registry)
            problems.append(
                f"{key} is {name!r}, which is not registered; registered are {', '.join(names)}, and what the packages "
                "register that --import names."
            )
    return problems


def _check_numbers(cfg: CfgNode) -> List[str]:
    problems = []
    if not cfg.INPUT.MIN_SIZE_TRAIN or min(cfg.INPUT.MIN_SIZE_TRAIN) < 1:
        problems.append(f"INPUT.MIN_SIZE_TRAIN is {cfg.INPUT.MIN_SIZE_TRAIN}: it takes at least one size, in pixels.")
    if cfg.DATALOADER.NUM_WORKERS < 0:
        problems.append(f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}: it must be 0 or more.")
    share = cfg.DATALOADER.MAX_UNREADABLE_SHARE
    if not 0 <= share < 1:
        problems.append(f"DATALOADER.MAX_UNREADABLE_SHARE is {share}: it is a share of the images, in [0, 1).")
    if cfg.SOLVER.CHECKPOINT_PERIOD < 1:
        problems.append(f"SOLVER.CHECKPOINT_PERIOD is {cfg.SOLVER.CHECKPOINT_PERIOD}: it must be 1 or more.")
    if cfg.SOLVER.NONFINITE_SKIPS < 0:
        problems.append(
            f"SOLVER.NONFINITE_SKIPS is {cfg.SOLVER.NONFINITE_SKIPS}: it is the number of iterations in a row that may "
            "be skipped, 0 for none."
        )
    if cfg.TEST.MEAN_BOXES_PER_CLASS == 0 or cfg.TEST.MEAN_BOXES_PER_CLASS < -1:
        problems.append(
            f"TEST.MEAN_BOXES_PER_CLASS is {cfg.TEST.MEAN_BOXES_PER_CLASS}: it must be above 0, or -1 for no such "
            "cut-off."
        )
    if cfg.MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST < 1:
        problems.append(
            f"MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST is {cfg.MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST}: it must be 1 or more."
        )
    for name in ("RPN", "ROI_HEADS"):
        thresholds, labels = list(cfg.MODEL[name].IOU_THRESHOLDS), list(cfg.MODEL[name].IOU_LABELS)
        if len(labels) != len(thresholds) + 1:
            problems.append(
                f"MODEL.{name}.IOU_THRESHOLDS {thresholds} and IOU_LABELS {labels} do not go together: there is one "
                "label more than thresholds, such as [0.5] with [0, 1] or [0.1, 0.5] with [-1, 0, 1]."
            )
    crowds = cfg.DATASETS.PROPOSAL_CROWD_THRESH
    if crowds != -1 and not 0 <= crowds <= 1:
        problems.append(
            f"DATASETS.PROPOSAL_CROWD_THRESH is {crowds}: it is a share of a proposal's area, from 0 to 1, or -1 to "
            "keep all proposals."
        )
    return problems + value_problems(cfg) + _check_device(cfg)


def _check_device(cfg: CfgNode) -> List[str]:
    try:
        device = torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        return [f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}: it takes torch's names, 'cuda', 'cuda:1' or 'cpu'."]
    has_own_gpu = comm.get_world_size() > 1 and torch.cuda.is_available()
    if has_own_gpu and device != torch.device("cuda"):
        return [
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but {comm.get_world_size()} processes have a GPU each: set it to "
            "'cuda', or start them on the CPU, with CUDA_VISIBLE_DEVICES='' in the environment."
        ]
    return []


def _check_mixed_precision(cfg: CfgNode) -> List[str]:
    if cfg.SOLVER.AMP.ENABLED and str(cfg.MODEL.DEVICE).startswith("cpu"):
        return ["SOLVER.AMP.ENABLED: detectron2's mixed precision is for GPUs, and MODEL.DEVICE is 'cpu': set False."]
    return []


def _check_steps_of_a_schedule(cfg: CfgNode) -> List[str]:
    keys = {
        "SCHEDULE.RUN_ONLY (--steps)": cfg.SCHEDULE.RUN_ONLY,
        "SCHEDULE.GIVEN_RUN (--from-run)": cfg.SCHEDULE.GIVEN_RUN,
        **given_files(cfg),
    }
    return [
        f"{key} is of a run in steps, but TRAINER {cfg.TRAINER!r} trains once: leave it out, or set TRAINER to "
        "'AlternatingTrainer'."
        for key, value in keys.items()
        if value
    ]


def _check_features(cfg: CfgNode) -> List[str]:
    if cfg.MODEL.BACKBONE.NAME not in BACKBONE_REGISTRY or cfg.MODEL.META_ARCHITECTURE not in META_ARCH_REGISTRY:
        return []  # said already
    network = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    keys = ["MODEL.ROI_HEADS.IN_FEATURES"] if issubclass(network, GeneralizedRCNN) else []
    if issubclass(network, (GeneralizedRCNN, ProposalNetwork)) and not cfg.MODEL.LOAD_PROPOSALS:
        keys.insert(0, "MODEL.RPN.IN_FEATURES")
    try:
        with torch.device("meta"):  # without storage
            features = sorted(build_backbone(cfg).output_shape())
    except Exception:  # the plan builds the whole network and says what is wrong with it
        return []
    problems = []
    for key in keys:
        missing = [name for name in _value(cfg, key) if name not in features]
        if missing:
            problems.append(
                f"{key} names {', '.join(missing)}, but {cfg.MODEL.BACKBONE.NAME} gives {', '.join(features)}: "
                f"set {key} to {'that' if len(features) == 1 else 'some of these'}."
            )
    return problems


def _check_steps(cfg: CfgNode, told: List[str]) -> List[str]:
    """What single steps' keys add to the problems of the run that are `told` already."""
    problems = []
    for step in steps_of(cfg):
        if step.opts or cfg.SCHEDULE.get(step.solver, {}).get("OPTS"):
            try:
                step_cfg = with_solver_of(cfg, step)
            except (
                KeyError,
                AttributeError,
                AssertionError,
                TypeError,
                ValueError,
            ):  # which is told as a problem of the OPTS
                continue
            found = _check_names(step_cfg, False) + _check_numbers(step_cfg) + _check_mixed_precision(step_cfg)
            found += box_head_problems(step_cfg) + proposal_switch_problems(step_cfg)
            problems += [f"{step.name}: {problem}" for problem in found if problem not in told]
    return problems


def check_config(cfg: CfgNode, *, trains: bool = True) -> List[str]:
    """Return everything that is wrong with the keys of `cfg`, one sentence each; empty when they agree.

    Args:
        cfg: any config with this package's keys.
        trains: whether the config is to be trained. One that is evaluated needs neither training data nor a schedule:
            it may be that of a single step.
    """
    by_schedule = trains and cfg.TRAINER == "AlternatingTrainer"
    problems = _check_names(cfg, by_schedule) + _check_numbers(cfg) + _check_features(cfg) + box_head_problems(cfg)
    network = final_network(cfg) if by_schedule else None
    problems += proposal_gradient_problems(cfg) + loss_weight_problems(cfg)
    problems += proposal_switch_problems(cfg, network) + pyramid_problems(cfg, network)
    if trains:
        problems += _check_mixed_precision(cfg)
    if by_schedule:
        problems += schedule_problems(cfg) + _check_steps(cfg, problems)
    elif trains and cfg.TRAINER == "SingleStepTrainer":
        problems += solver_problems("SOLVER", cfg) + _check_steps_of_a_schedule(cfg)
    if trains and not cfg.DATASETS.TRAIN:
        problems.append(
            "DATASETS.TRAIN is empty: name registered data sets there, or set DATASETS.VOC_LAYOUT.ROOT or "
            "DATASETS.COCO_JSON.TRAIN_JSON."
        )
    return problems + check_files(cfg)
