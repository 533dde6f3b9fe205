"""detectron2's two R-CNN meta architectures, with what only they can know or do.

They tell the region proposal network how each image was resized, since the smallest proposal is given in pixels of
the original image (SPEC 4.5), and which image it is, for draws at random (SPEC 8.1); they can subtract a mean image
(SPEC 2); and the detector can hand out the scores that a cut-off over the data set needs (SPEC 5.4), and see an image
at several sizes (SPEC 10.3). Everything else is stock, in detectron2 0.6 as in main.
"""

from typing import Any, Dict, List, Optional, Union

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, ProposalNetwork
from detectron2.structures import ImageList, Instances
from torch import Tensor

from .image_pyramid import SeesImagePyramid
from .mean_image import SubtractsMeanImage
from .proposal_generator import FasterRCNNRPN, image_facts
from .roi_heads.candidate_scores import collect_candidate_scores
from .roi_heads.proposal_graph import as_constants

__all__ = ["FasterRCNN", "FasterRCNNProposalNetwork"]


@META_ARCH_REGISTRY.register()
class FasterRCNN(SubtractsMeanImage, SeesImagePyramid, GeneralizedRCNN):
    """``GeneralizedRCNN`` whose region proposal network knows the scale and the name of each image.

    Works with any proposal generator, and with none (``PrecomputedProposals``), like the stock class.

    Args:
        gives_candidate_scores: whether outputs hold "candidate_scores" beside "instances" (see ``inference``); the
            config wants them where TEST.MEAN_BOXES_PER_CLASS is above 0.
        kwargs: of ``SubtractsMeanImage``, ``SeesImagePyramid`` and ``GeneralizedRCNN``.
    """

    @configurable
    def __init__(self, *, gives_candidate_scores: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.gives_candidate_scores = gives_candidate_scores

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        return {**super().from_config(cfg), "gives_candidate_scores": cfg.TEST.MEAN_BOXES_PER_CLASS > 0}

    def forward(self, batched_inputs: List[Dict[str, Any]]) -> Union[Dict[str, Tensor], List[Dict[str, Any]]]:
        """As ``GeneralizedRCNN.forward``: losses in training, else what ``inference`` returns.

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
        with image_facts(batched_inputs):
            return super().forward(batched_inputs)

    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        detected_instances: Optional[List[Instances]] = None,
        do_postprocess: bool = True,
    ) -> List[Union[Dict[str, Any], Instances]]:
        """As ``GeneralizedRCNN.inference``, which people also call directly (test-time augmentation does).

        Returns:
            One ``{"instances": Instances}`` an image, in pixels of the original image; without `do_postprocess` the
            Instances themselves, in pixels of the network's input. Where detections are made by
            ``FasterRCNNOutputLayers`` and post-processed, and `gives_candidate_scores`, each image's dictionary also
            has "candidate_scores": (T, K), the scores of each of the K classes that entered NMS, best first, T of the
            class that has most, -inf after the last of the others; on the device of the detections.
        """
        with image_facts(batched_inputs), collect_candidate_scores(self.gives_candidate_scores) as scores:
            outputs = super().inference(batched_inputs, detected_instances, do_postprocess)
        if do_postprocess:
            for output, scores_of_image in zip(outputs, scores):
                output["candidate_scores"] = scores_of_image
        return outputs

    def visualize_training(self, batched_inputs: List[Dict[str, Any]], proposals: List[Instances]) -> None:
        """As ``GeneralizedRCNN.visualize_training``, also of proposals that are part of the graph (SPEC 7.2)."""
        super().visualize_training(batched_inputs, as_constants(proposals))

    def preprocess_image(self, batched_inputs: List[Dict[str, Any]]) -> ImageList:
        """Subtract the mean image or PIXEL_MEAN, divide by PIXEL_STD, pad with zeros to one batch."""
        return super().preprocess_image(self.subtract_mean_image(batched_inputs))


@META_ARCH_REGISTRY.register()
class FasterRCNNProposalNetwork(SubtractsMeanImage, ProposalNetwork):
    """``ProposalNetwork`` whose region proposal network knows the scale and the name of each image."""

    def forward(self, batched_inputs: List[Dict[str, Any]]) -> Union[Dict[str, Tensor], List[Dict[str, Instances]]]:
        """As ``ProposalNetwork.forward``: losses in training, else one ``{"proposals": Instances}`` an image."""
        with image_facts(batched_inputs):
            return super().forward(self.subtract_mean_image(batched_inputs))
