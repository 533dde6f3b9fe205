"""Models without storage: parameters that have names and shapes and no numbers, so that even VGG-16 costs no time."""

import torch
from detectron2.config import CfgNode

from .step_trainer import build_step_model

__all__ = ["build_meta_model"]


def build_meta_model(cfg: CfgNode) -> torch.nn.Module:
    """Build the model of `cfg`, with its frozen components, on the "meta" device."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_step_model(cfg)
