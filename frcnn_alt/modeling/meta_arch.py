"""detectron2's two R-CNN meta architectures, which also tell the region proposal network how each image was resized.

The smallest proposal is given in pixels of the original image (SPEC 4.5), but a stock meta architecture hands its
proposal generator only the resized images. Everything else is stock, in detectron2 0.6 as in main.
"""

from typing import Any, Dict, List, Optional

from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, ProposalNetwork
from detectron2.structures import Instances

from .proposal_generator import FasterRCNNRPN, image_scales

__all__ = ["FasterRCNN", "FasterRCNNProposalNetwork"]


@META_ARCH_REGISTRY.register()
class FasterRCNN(GeneralizedRCNN):
    """``GeneralizedRCNN`` whose region proposal network knows the scale of each image.

    Works with any proposal generator, and with none (``PrecomputedProposals``), like the stock class.
    """

    def forward(self, batched_inputs: List[Dict[str, Any]]):
        """As ``GeneralizedRCNN.forward``.

        Raises:
            ValueError: the model is in training mode but its region proposal network decodes no proposals.
        """
        generator = self.proposal_generator
        if self.training and isinstance(generator, FasterRCNNRPN) and not generator.proposals_in_training:
            raise ValueError(
                "MODEL.RPN.PROPOSALS_IN_TRAINING is False, so the ROI heads would be trained without proposals. Set "
                "it to True, or train the region proposal network alone with META_ARCHITECTURE "
                "FasterRCNNProposalNetwork."
            )
        with image_scales(batched_inputs):
            return super().forward(batched_inputs)

    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        detected_instances: Optional[List[Instances]] = None,
        do_postprocess: bool = True,
    ):
        """As ``GeneralizedRCNN.inference``, which people also call directly (test-time augmentation does)."""
        with image_scales(batched_inputs):
            return super().inference(batched_inputs, detected_instances, do_postprocess)


@META_ARCH_REGISTRY.register()
class FasterRCNNProposalNetwork(ProposalNetwork):
    """``ProposalNetwork`` whose region proposal network knows the scale of each image."""

    def forward(self, batched_inputs: List[Dict[str, Any]]):
        """As ``ProposalNetwork.forward``: losses in training, else one ``{"proposals": Instances}`` an image."""
        with image_scales(batched_inputs):
            return super().forward(batched_inputs)
