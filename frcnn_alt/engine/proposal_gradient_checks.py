"""What non-approximate joint training needs of the other keys (paper section 3.2, iii; SPEC 7.2)."""

from typing import List

from detectron2.config import CfgNode
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY

from ..modeling.proposal_generator import FasterRCNNRPN
from ..modeling.roi_heads import FasterRCNNROIHeads

__all__ = ["proposal_gradient_problems"]

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
    if cfg.TRAINER == "AlternatingTrainer":
        problems.append(
            f"{key} is for joint training, but no step of TRAINER 'AlternatingTrainer' trains an RPN together with a "
            "detector: set TRAINER to 'SingleStepTrainer', or the gradient to False."
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
