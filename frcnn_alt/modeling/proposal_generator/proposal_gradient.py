"""What flows back from proposals into the RPN's deltas in non-approximate joint training (paper 3.2, iii; SPEC 7.2).

The boxes are functions of the deltas, d xc / d dx = wa and d w / d dw = w, and autograd knows that by itself; what has
to be said is where the gradient ends. Selection picks boxes and changes none; scores get no gradient. Clipping a
coordinate to the image makes it a constant. MNC goes further: a proposal of which any coordinate was clipped, and one
whose anchor crosses the image boundary, is a constant altogether. And MNC clamps the gradient of each delta, because
that of a large box is large.

Shape letters: N images, L levels, A anchors per cell, Hi x Wi cells of level i, B = 4.
"""

from typing import List, Optional, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes

from .matching import inside_image

__all__ = ["ProposalGradient"]

_CONSTANTS = ("clipped_coordinates", "clipped_boxes")


class ProposalGradient:
    """The gradient between the proposals and the deltas that they are decoded from.

    Args:
        constants: ``MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS``. "clipped_coordinates": the derivative as it is, 0 for the
            coordinates that the image's edges replace. "clipped_boxes": 0 for all coordinates of boxes that were
            clipped and of anchors that cross the boundary (MNC).
        clamp: ``MODEL.RPN.PROPOSAL_GRADIENT_CLAMP``, the largest absolute value of the detector's gradient with respect
            to a delta, in the units of the network's output; 0 is no limit. MNC's is 1 / 512, for batches of one image:
            a mean over N images divides the gradient by N before it is clamped. The RPN's own loss is not clamped.

    Raises:
        ValueError: unknown `constants`, or a `clamp` below 0.
    """

    def __init__(self, constants: str = "clipped_coordinates", clamp: float = 0.0):
        if constants not in _CONSTANTS:
            raise ValueError(f"MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS is {constants!r}; it must be one of {_CONSTANTS}.")
        if clamp < 0:
            raise ValueError(f"MODEL.RPN.PROPOSAL_GRADIENT_CLAMP is {clamp}; it must be above 0, or 0 for no limit.")
        self.constants = constants
        self.clamp = clamp

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Optional["ProposalGradient"]:
        """None unless ``MODEL.RPN.PROPOSAL_GRADIENT``."""
        keys = cfg.MODEL.RPN
        if not keys.PROPOSAL_GRADIENT:
            return None
        return cls(keys.PROPOSAL_GRADIENT_CONSTANTS, keys.PROPOSAL_GRADIENT_CLAMP)

    def clamped(self, deltas: List[torch.Tensor]) -> List[torch.Tensor]:
        """`deltas` unchanged, but what comes back to them through the result is clamped, each number by itself."""
        if not self.clamp:
            return deltas
        results = []
        for deltas_i in deltas:
            result = deltas_i.view_as(deltas_i)
            if result.requires_grad:  # not if the RPN and the backbone are frozen
                result.register_hook(lambda gradient: gradient.clamp(-self.clamp, self.clamp))
            results.append(result)
        return results

    def with_constants(
        self, boxes: List[torch.Tensor], anchors: List[Boxes], image_sizes: List[Tuple[int, int]]
    ) -> List[torch.Tensor]:
        """`boxes` unchanged, with constants in the places of those that are to get no gradient.

        Args:
            boxes: L tensors of shape (N, Hi*Wi*A, 4), decoded and not yet clipped, continuous XYXY network pixels.
            anchors: L sets of Hi*Wi*A anchors in the same frame.
            image_sizes: (height, width) of N images without padding.
        """
        if self.constants == "clipped_coordinates":
            return boxes  # clipping them is enough
        results = []
        for boxes_i, anchors_i in zip(boxes, anchors):
            moves = [
                inside_image(Boxes(boxes_of_image), size) & inside_image(anchors_i, size)
                for boxes_of_image, size in zip(boxes_i.detach(), image_sizes)
            ]
            results.append(torch.where(torch.stack(moves)[..., None], boxes_i, boxes_i.detach()))
        return results
