"""What a detector on dense windows and one on an image pyramid need of the keys (SPEC 8.8, 10.3)."""

from typing import List, Optional

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY
from torch import nn

from ..modeling.meta_arch import FasterRCNN
from ..modeling.roi_heads import FasterRCNNROIHeads
from .network import FAST_RCNN, ONE_STAGE
from .step import Step

__all__ = ["proposal_generator_problems", "pyramid_problems"]

_KEY = "MODEL.PYRAMID"
_NEEDED = (
    ("META_ARCHITECTURE", META_ARCH_REGISTRY, FasterRCNN),
    ("ROI_HEADS.NAME", ROI_HEADS_REGISTRY, FasterRCNNROIHeads),
)


def proposal_generator_problems(step: Step, model: nn.Module) -> List[str]:
    """Return why the proposal generator of a step's network is of the wrong kind for it, one sentence at most.

    Args:
        step: of any kind.
        model: its network; may be on the "meta" device.
    """
    generator = getattr(model, "proposal_generator", None)
    learns = generator is not None and any(True for _ in generator.parameters())
    name = "PrecomputedProposals" if generator is None else type(generator).__name__
    key = f"MODEL.PROPOSAL_GENERATOR.NAME is {name!r}"
    if step.kind == ONE_STAGE and generator is None:
        return [f"{step.name}: {key}, and a one-stage detector has no stored proposals: set it to 'DenseWindows'."]
    if step.kind == ONE_STAGE and learns:
        return [
            f"{step.name}: {key}, which has parameters that this step would not train: set it to 'DenseWindows', as "
            "configs/overlays/one_stage.yaml does."
        ]
    if "proposal_generator" in step.components and generator is not None and not learns:
        return [
            f"{step.name}: {key}, which has nothing to train: set it to an RPN such as 'FasterRCNNRPN', or "
            "SCHEDULE.NAME to 'one_stage'."
        ]
    return []


def pyramid_problems(cfg: CfgNode, network: Optional[str] = None) -> List[str]:
    """Return what MODEL.PYRAMID and the keys around it do not agree on, one sentence each.

    Args:
        cfg: any config with this package's keys.
        network: what its schedule ends with, one of ``NETWORKS``; None is the network that `cfg` itself configures.
    """
    sizes, canonical, problems = cfg.MODEL.PYRAMID.SIZES_TEST, cfg.MODEL.PYRAMID.CANONICAL_BOX_SIZE, []
    if canonical <= 0:
        problems.append(f"{_KEY}.CANONICAL_BOX_SIZE is {canonical}: it is a side in pixels, above 0.")
    if not sizes:
        return problems
    if min(sizes) < 1:
        problems.append(f"{_KEY}.SIZES_TEST is {tuple(sizes)}: it takes shorter sides of the image, in pixels.")
    if max(sizes) > cfg.INPUT.MIN_SIZE_TEST:
        problems.append(
            f"{_KEY}.SIZES_TEST {tuple(sizes)} would enlarge what INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST} has "
            f"shrunk: set that to the largest, {max(sizes)}."
        )
    for key, registry, needed in _NEEDED:
        node, _, leaf = key.rpartition(".")
        name = (cfg.MODEL[node] if node else cfg.MODEL)[leaf]
        if name in registry and not issubclass(registry.get(name), needed):
            problems.append(
                f"{_KEY}.SIZES_TEST needs MODEL.{key} {needed.__name__!r}; {name} sees one size: set it ()."
            )
    if cfg.MODEL.MASK_ON or cfg.MODEL.KEYPOINT_ON:
        problems.append(f"{_KEY}.SIZES_TEST is for detectors of boxes alone: set MODEL.MASK_ON and KEYPOINT_ON False.")
    if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "DenseWindows" and not cfg.MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME:
        problems.append(
            f"{_KEY}.SIZES_TEST: the windows would be others at every size that training shows an image at: set "
            "MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME to the size that MODEL.ANCHOR_GENERATOR.SIZES are meant for, such "
            "as (600, 1000)."
        )
    if network not in (None, FAST_RCNN, ONE_STAGE):
        problems.append(
            f"{_KEY}.SIZES_TEST is for detectors on dense windows or on stored proposals, but SCHEDULE.NAME "
            f"{cfg.SCHEDULE.NAME!r} ends with an RPN, which works on one size: set it to ()."
        )
    return problems
