"""The region proposal network of the paper: its head, labels, losses and selection of proposals."""

from .image_scales import current_image_scales, image_scales
from .matching import inside_image, match_anchors
from .proposal_gradient import ProposalGradient
from .rpn import FasterRCNNRPN
from .rpn_head import SoftmaxRPNHead
from .selection import select_proposals
from .unshared import UnsharedProposalGenerator

__all__ = [
    "FasterRCNNRPN",
    "ProposalGradient",
    "SoftmaxRPNHead",
    "UnsharedProposalGenerator",
    "current_image_scales",
    "image_scales",
    "inside_image",
    "match_anchors",
    "select_proposals",
]
