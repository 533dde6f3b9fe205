"""Checks of single values that nothing would object to until they are used, hours later, if at all.

Most of the keys are detectron2's own. Each problem names the key, its value, and what it takes.
"""

import math
from typing import Any, Iterator, List

from detectron2.config import CfgNode

__all__ = ["value_problems"]

# Key -> lowest and highest value, and whether these themselves are values; NaN is none.
_AT_LEAST_1, _AT_LEAST_0, _ABOVE_0 = (1, math.inf, True), (0, math.inf, True), (0, math.inf, False)
_SHARE = (0, 1, True)
_RANGES = {
    "MODEL.BACKBONE.WIDTH_MULTIPLIER": _ABOVE_0,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": _AT_LEAST_1,
    "MODEL.RPN.POSITIVE_FRACTION": _SHARE,
    "MODEL.RPN.NMS_THRESH": _SHARE,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": _AT_LEAST_1,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": _AT_LEAST_1,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": _AT_LEAST_1,
    "MODEL.RPN.POST_NMS_TOPK_TEST": _AT_LEAST_1,
    "MODEL.RPN.LOSS_WEIGHT": _AT_LEAST_0,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": _AT_LEAST_0,
    "MODEL.RPN.SMOOTH_L1_BETA": _AT_LEAST_0,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _AT_LEAST_1,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": _SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": _SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": (-math.inf, 1, True),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": _AT_LEAST_1,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": _AT_LEAST_0,
    "MODEL.ROI_BOX_HEAD.FC_DIM": _AT_LEAST_1,
    "MODEL.ROI_BOX_HEAD.DROPOUT": _SHARE,
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": _AT_LEAST_0,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": _AT_LEAST_0,
    "INPUT.MIN_SIZE_TEST": _AT_LEAST_0,  # 0 is the image as it is
    "INPUT.MAX_SIZE_TRAIN": _AT_LEAST_1,
    "INPUT.MAX_SIZE_TEST": _AT_LEAST_1,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": _AT_LEAST_1,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": _AT_LEAST_1,
    "SOLVER.MOMENTUM": _SHARE,
    "SOLVER.WEIGHT_DECAY": _AT_LEAST_0,
    "SOLVER.GAMMA": _ABOVE_0,
    "SOLVER.WARMUP_ITERS": _AT_LEAST_0,
    "SOLVER.WARMUP_FACTOR": _AT_LEAST_0,
    "TEST.EVAL_PERIOD": _AT_LEAST_0,
}


def _value(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def value_problems(cfg: CfgNode) -> List[str]:
    """Return which values no training or test can use, one sentence each."""
    problems = []
    for key, (low, high, included) in _RANGES.items():
        value = _value(cfg, key)
        if not (low <= value <= high if included else low < value < high):
            problems.append(f"{key} is {value}: it takes {_describe(low, high, included)}.")
    if cfg.TEST.DETECTIONS_PER_IMAGE == 0:
        problems.append("TEST.DETECTIONS_PER_IMAGE is 0: it takes a number above 0, or -1 for no limit.")
    return problems + _list_problems(cfg)


def _describe(low: float, high: float, included: bool) -> str:
    if low == -math.inf:
        return f"{high} at most"
    if high == math.inf:
        return f"{low} or more" if included else f"more than {low}, and a finite number"
    return f"a number from {low} to {high}"


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _list_problems(cfg: CfgNode) -> List[str]:
    problems = []
    for key in ("SIZES", "ASPECT_RATIOS"):
        values = cfg.MODEL.ANCHOR_GENERATOR[key]
        numbers = list(_flat(values))
        is_empty = not numbers or any(isinstance(one, (list, tuple)) and not one for one in values)
        if is_empty or not all(isinstance(one, (int, float)) and 0 < one < math.inf for one in numbers):
            problems.append(f"MODEL.ANCHOR_GENERATOR.{key} is {values}: it takes numbers above 0, a list for each map.")
    for part in ("RPN", "ROI_HEADS"):
        thresholds = list(cfg.MODEL[part].IOU_THRESHOLDS)
        if thresholds != sorted(thresholds) or not all(0 < one <= 1 for one in thresholds):
            problems.append(f"MODEL.{part}.IOU_THRESHOLDS is {thresholds}: it takes overlaps up to 1, in rising order.")
    mean, deviation = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    if len(mean) != len(deviation) or not all(map(math.isfinite, mean)):
        problems.append(
            f"MODEL.PIXEL_MEAN is {mean} and PIXEL_STD {deviation}: each takes one number for each channel."
        )
    elif not all(0 < one < math.inf for one in deviation):
        problems.append(f"MODEL.PIXEL_STD is {deviation}: it takes numbers above 0, by which pixels are divided.")
    return problems
