"""What the ablations at test time need of the other keys (paper 4.1, Table 2; SPEC 8.1): a network that knows them."""

from typing import List, Optional

from detectron2.config import CfgNode
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY

from ..modeling.proposal_generator import FasterRCNNRPN, ProposalSwitches, UnsharedProposalGenerator
from .network import FAST_RCNN
from .schedule import build_schedule

__all__ = ["final_network", "proposal_switch_problems"]


def final_network(cfg: CfgNode) -> Optional[str]:
    """What the schedule of `cfg` ends with; None where it cannot be built, which the plan says once for all checks."""
    try:
        return build_schedule(cfg).network
    except Exception:  # whatever somebody's own schedule objects to
        return None


def proposal_switch_problems(cfg: CfgNode, network: Optional[str] = None) -> List[str]:
    """Return which of the switches nothing would obey, or what is wrong with their values, one sentence each.

    Args:
        cfg: of a run, a step or a network that is evaluated.
        network: what is built of it, one of ``NETWORKS``; None is the network that `cfg` itself configures.
    """
    try:
        keys = ProposalSwitches.from_config(cfg).switched_off()
    except ValueError as error:
        return [str(error)]
    whose, name = "MODEL.PROPOSAL_GENERATOR.NAME", cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == UnsharedProposalGenerator.__name__:
        whose, name = "MODEL.PROPOSAL_GENERATOR.INNER_NAME", cfg.MODEL.PROPOSAL_GENERATOR.INNER_NAME
    if network == FAST_RCNN or name == "PrecomputedProposals":
        return [
            f"{key} False does nothing to a detector on stored proposals: set it to True here, and to False where the "
            "proposals are computed."
            for key in keys
        ]
    if name not in PROPOSAL_GENERATOR_REGISTRY:
        return []  # said already
    generator = PROPOSAL_GENERATOR_REGISTRY.get(name)
    if isinstance(generator, type) and issubclass(generator, FasterRCNNRPN):
        return []
    return [
        f"{key} False is for {FasterRCNNRPN.__name__}, and {name}, which {whose} names, does not know it: set it to "
        f"True, or {whose} to {FasterRCNNRPN.__name__!r}."
        for key in keys
    ]
