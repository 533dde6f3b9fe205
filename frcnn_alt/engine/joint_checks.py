"""What training an RPN and a detector together needs of the keys (paper section 3.2, ii and iii; SPEC 7)."""

from typing import List

from detectron2.config import CfgNode
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from torch import nn

from ..modeling.proposal_generator import FasterRCNNRPN
from ..modeling.roi_heads import FasterRCNNROIHeads
from .network import JOINT
from .schedule import steps_of
from .window_statistics import knows_its_windows

__all__ = ["joint_training_problems", "proposal_gradient_problems"]

_NEEDED = (
    ("PROPOSAL_GENERATOR", PROPOSAL_GENERATOR_REGISTRY, FasterRCNNRPN),
    ("ROI_HEADS", ROI_HEADS_REGISTRY, FasterRCNNROIHeads),
)


def proposal_gradient_problems(cfg: CfgNode) -> List[str]:
    """Return what MODEL.RPN.PROPOSAL_GRADIENT and the keys around it do not agree on, one sentence each."""
    rpn, key = cfg.MODEL.RPN, "MODEL.RPN.PROPOSAL_GRADIENT"
    problems = []
    if rpn.PROPOSAL_GRADIENT_CLAMP < 0:
        problems.append(f"{key}_CLAMP is {rpn.PROPOSAL_GRADIENT_CLAMP}: it must be above 0, or 0 for no limit.")
    if not rpn.PROPOSAL_GRADIENT:
        return problems
    if cfg.TRAINER == "AlternatingTrainer" and not _trains_jointly(cfg):
        problems.append(
            f"{key} is for joint training, but no step of SCHEDULE.NAME {cfg.SCHEDULE.NAME!r} trains an RPN together "
            "with a detector: set SCHEDULE.NAME to 'joint', or the gradient to False."
        )
    for component, registry, needed in _NEEDED:
        name = cfg.MODEL[component].NAME
        if name in registry and not issubclass(registry.get(name), needed):
            problems.append(f"{key} needs MODEL.{component}.NAME {needed.__name__!r}; {name} stops the gradient.")
    if cfg.MODEL.LOAD_PROPOSALS or cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        problems.append(f"{key} has nowhere to go with stored proposals: set it to False, or train an RPN.")
    if not rpn.PROPOSALS_IN_TRAINING:
        problems.append(f"{key} is True, but MODEL.RPN.PROPOSALS_IN_TRAINING False leaves no proposals: set it True.")
    if cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE != "ROIWarp":
        problems.append(
            f"{key} needs a pooling that gives boxes a gradient, but MODEL.ROI_BOX_HEAD.POOLER_TYPE "
            f"{cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE!r} gives none: set it to 'ROIWarp'."
        )
    if cfg.MODEL.MASK_ON or cfg.MODEL.KEYPOINT_ON:
        problems.append(f"{key} is for detectors of boxes alone: set MODEL.MASK_ON and MODEL.KEYPOINT_ON False.")
    if rpn.PROPOSAL_GRADIENT_CLAMP > 0 and cfg.SOLVER.AMP.ENABLED:
        problems.append(
            f"{key}_CLAMP would clamp gradients that SOLVER.AMP multiplies by its changing loss scale: switch one off."
        )
    return problems


def _trains_jointly(cfg: CfgNode) -> bool:
    steps = steps_of(cfg)
    return not steps or any(step.kind == JOINT for step in steps)


def joint_training_problems(model: nn.Module) -> List[str]:
    """Return what a detector and an RPN that train together cannot do, one sentence each.

    Args:
        model: the network of both; may be on the "meta" device.
    """
    problems = []
    if getattr(model.roi_heads, "new_box_statistics", lambda: None)() is not None and not knows_its_windows(model):
        problems.append(
            "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS is 'per_class', which is measured on proposals before a training, "
            "but here they come into being during it: set it to 'fixed' and MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS to "
            "(10.0, 10.0, 5.0, 5.0), as py-faster-rcnn's joint training does (configs/zf_joint.yaml)."
        )
    if not getattr(model.proposal_generator, "proposals_in_training", True):
        problems.append(
            "MODEL.RPN.PROPOSALS_IN_TRAINING is False, so the RoI heads would be trained without proposals: set it to "
            "True."
        )
    return problems
