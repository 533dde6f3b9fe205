"""Checks of the keys that pre-training reads, before any image is opened. Each problem names key and mend."""

from typing import List

from detectron2.config import CfgNode

from .checks import check_config
from .solver_checks import length_problems
from .world_size import number_of_processes

__all__ = ["pretraining_problems"]


def pretraining_problems(cfg: CfgNode) -> List[str]:
    """Return everything that is wrong with the keys of `cfg` for pre-training, one sentence each.

    Args:
        cfg: reads PRETRAIN.* and all that describes the network. MODEL.WEIGHTS need not exist: pre-training writes it.
    """
    problems = [text for text in check_config(cfg, trains=False) if not text.startswith("MODEL.WEIGHTS: ")]
    keys = cfg.PRETRAIN
    problems += length_problems("PRETRAIN", keys)
    processes = number_of_processes()
    if keys.BATCH_SIZE < 1 or keys.BATCH_SIZE % processes:
        problems.append(
            f"PRETRAIN.BATCH_SIZE is {keys.BATCH_SIZE}: it must be a multiple of the number of processes, {processes}."
        )
    if keys.IMAGE_SIZE < 1:
        problems.append(f"PRETRAIN.IMAGE_SIZE is {keys.IMAGE_SIZE}: it is the side of a square image in pixels.")
    if not 0 <= keys.MOMENTUM < 1:
        problems.append(f"PRETRAIN.MOMENTUM is {keys.MOMENTUM}: it must lie in [0, 1).")
    if not keys.WEIGHT_DECAY >= 0:
        problems.append(f"PRETRAIN.WEIGHT_DECAY is {keys.WEIGHT_DECAY}: it must be 0 or more.")
    if keys.DATA == "crops":
        if not 0 < keys.MIN_SCALE <= 1:
            problems.append(f"PRETRAIN.MIN_SCALE is {keys.MIN_SCALE}: it is a share of IMAGE_SIZE, in (0, 1].")
        if not 0 <= keys.BACKGROUND_FRACTION < 1:
            problems.append(f"PRETRAIN.BACKGROUND_FRACTION is {keys.BACKGROUND_FRACTION}: it must lie in [0, 1).")
    return problems
