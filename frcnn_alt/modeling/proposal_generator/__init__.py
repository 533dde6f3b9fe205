"""The region proposal network of the paper: its head, labels, losses and selection of proposals; dense windows."""

from .dense_windows import DenseWindows
from .image_facts import ImageFacts, current_image_facts, image_facts, original_size
from .matching import inside_image, match_anchors
from .proposal_gradient import ProposalGradient
from .proposal_switches import ProposalSwitches
from .random_draw import draw_lots, draw_proposals
from .rpn import FasterRCNNRPN
from .rpn_head import SoftmaxRPNHead
from .selection import select_proposals
from .unshared import UnsharedProposalGenerator

__all__ = [
    "DenseWindows",
    "FasterRCNNRPN",
    "ImageFacts",
    "ProposalGradient",
    "ProposalSwitches",
    "SoftmaxRPNHead",
    "UnsharedProposalGenerator",
    "current_image_facts",
    "draw_lots",
    "draw_proposals",
    "image_facts",
    "inside_image",
    "match_anchors",
    "original_size",
    "select_proposals",
]
