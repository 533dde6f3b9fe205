"""Factors of the losses of a training, by name: SOLVER.LOSS_WEIGHTS.

A loss with weight 0 teaches nothing; it freezes nothing either. Layers that it alone would train still get weight decay
and go on with their momentum, and layers that other losses reach too are trained by these.
"""

from typing import Any, Dict, List

from detectron2.config import CfgNode
from torch import nn

__all__ = ["LOSSES", "loss_weight_problems", "loss_weights", "weigh_losses"]

# What detectron2's R-CNNs call them.
LOSSES = ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask", "loss_keypoint")


def loss_weight_problems(cfg: CfgNode) -> List[str]:
    """Return what is wrong with SOLVER.LOSS_WEIGHTS, one sentence each."""
    pairs = list(cfg.SOLVER.LOSS_WEIGHTS)
    names, weights = pairs[::2], pairs[1::2]
    if len(names) == len(weights) and all(isinstance(name, str) for name in names):
        wrong = [one for one in weights if isinstance(one, bool) or not isinstance(one, (int, float)) or not one >= 0]
        if not wrong:
            return []
    return [
        f"SOLVER.LOSS_WEIGHTS is {pairs}: it takes names of losses and weights of 0 or more by turns, as in "
        '["loss_rpn_loc", 0.5].'
    ]


def loss_weights(cfg: CfgNode) -> Dict[str, float]:
    """SOLVER.LOSS_WEIGHTS as loss name -> factor; losses that it does not name keep theirs."""
    pairs = list(cfg.SOLVER.LOSS_WEIGHTS)
    return {name: float(weight) for name, weight in zip(pairs[::2], pairs[1::2])}


def weigh_losses(model: nn.Module, weights: Dict[str, float]) -> None:
    """Multiply the losses that `model` returns in training mode, from now on; what is logged are the products."""

    def weigh(module: nn.Module, inputs: Any, losses: Any) -> Any:
        if not module.training:
            return losses
        return {name: loss * weights.get(name, 1.0) for name, loss in losses.items()}

    if weights:
        model.register_forward_hook(weigh)
