"""Which network a step trains and which one a schedule ends with, as changes of a R-CNN's config.

All of them are parts of one config's R-CNN, put together by detectron2's own meta architectures.
"""

from typing import Dict, Tuple

from detectron2.config import CfgNode

__all__ = ["FAST_RCNN", "JOINT", "NETWORKS", "ONE_STAGE", "RPN", "UNSHARED", "configure_network", "is_of_a_part"]

RPN = "rpn"  # backbone and proposal generator
FAST_RCNN = "fast_rcnn"  # backbone and RoI heads, on stored proposals
ONE_STAGE = "one_stage"  # backbone and RoI heads, on proposals of a generator that learns nothing: the config's R-CNN
JOINT = "joint"  # all three: the config's own R-CNN
UNSHARED = "unshared"  # all three, and a second backbone that the proposal generator has for itself

# The components of each: what the state dict's names begin with.
NETWORKS: Dict[str, Tuple[str, ...]] = {
    RPN: ("backbone", "proposal_generator"),
    FAST_RCNN: ("backbone", "roi_heads"),
    ONE_STAGE: ("backbone", "roi_heads"),
    JOINT: ("backbone", "proposal_generator", "roi_heads"),
    UNSHARED: ("backbone", "proposal_generator", "roi_heads"),
}

# The part in front of the RoI heads of a meta architecture; of detectron2's and other people's it is the stock one.
_PROPOSAL_NETWORKS = {"FasterRCNN": "FasterRCNNProposalNetwork"}


def configure_network(cfg: CfgNode, network: str) -> None:
    """Change `cfg`, the config of a R-CNN, in place, so that it builds `network`; twice is as once.

    Args:
        cfg: not frozen.
        network: one of ``NETWORKS``.
    """
    if network == RPN:
        whole = cfg.MODEL.META_ARCHITECTURE
        if whole not in _PROPOSAL_NETWORKS.values():
            cfg.MODEL.META_ARCHITECTURE = _PROPOSAL_NETWORKS.get(whole, "ProposalNetwork")
    elif network == FAST_RCNN:
        cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
        cfg.MODEL.LOAD_PROPOSALS = True
    elif network == UNSHARED and cfg.MODEL.PROPOSAL_GENERATOR.NAME != "UnsharedProposalGenerator":
        cfg.MODEL.PROPOSAL_GENERATOR.INNER_NAME = cfg.MODEL.PROPOSAL_GENERATOR.NAME
        cfg.MODEL.PROPOSAL_GENERATOR.NAME = "UnsharedProposalGenerator"


def is_of_a_part(cfg: CfgNode) -> bool:
    """Whether `cfg` is configured for a part of a R-CNN already: proposals alone, or a detector on stored ones."""
    alone = ("ProposalNetwork", *_PROPOSAL_NETWORKS.values())
    return cfg.MODEL.LOAD_PROPOSALS or cfg.MODEL.META_ARCHITECTURE in alone
