"""Checks of the box head's keys among each other: how regions are pooled, and by what their targets are normalised."""

from typing import List

from detectron2.config import CfgNode

__all__ = ["box_head_problems"]


def box_head_problems(cfg: CfgNode) -> List[str]:
    """Return what contradicts itself in MODEL.ROI_BOX_HEAD, one sentence each."""
    problems = []
    head = cfg.MODEL.ROI_BOX_HEAD
    if cfg.MODEL.ROI_HEADS.NAME != "FasterRCNNROIHeads":
        return problems  # stock heads read none of these keys
    corners = [key for key in ("POOLER_INCLUSIVE_CORNERS", "POOLER_ROUND_CORNERS") if head[key]]
    if corners and head.POOLER_TYPE in ("ROIAlign", "ROIAlignV2", "ROIWarp"):
        problems.append(
            f"MODEL.ROI_BOX_HEAD: {' and '.join(corners)} {'is' if len(corners) == 1 else 'are'} for ROIPool, but "
            f"POOLER_TYPE is {head.POOLER_TYPE}, which expects continuous corners: set {' and '.join(corners)} False."
        )
    elif corners == ["POOLER_ROUND_CORNERS"]:
        problems.append(
            "MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS rounds inclusive corners, but POOLER_INCLUSIVE_CORNERS is False: "
            "set both to True or both to False."
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
