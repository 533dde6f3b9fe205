"""A proposal generator that has a backbone of its own: RPN and detector without shared convolutions (SPEC 6.4).

The paper compares with this network ("RPN + ZF, unshared", Tables 2 and 3). It is two full networks one after the
other, and stays an ordinary detectron2 model: whatever meta architecture asks for proposals gets them.

Shape letters: N images, H x W pixels of the padded batch.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, build_backbone
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import nn

__all__ = ["UnsharedProposalGenerator"]


@PROPOSAL_GENERATOR_REGISTRY.register()
class UnsharedProposalGenerator(nn.Module):
    """A proposal generator on features of its own backbone; those of the detector are not looked at.

    The parts are called as in a ``ProposalNetwork``, so that the state dict of one, with "proposal_generator." before
    its names, is that of this.

    Args:
        backbone: of the proposal generator alone.
        proposal_generator: e.g. a ``FasterRCNNRPN``.
    """

    @configurable
    def __init__(self, *, backbone: Backbone, proposal_generator: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, Any]:
        """A second MODEL.BACKBONE and MODEL.PROPOSAL_GENERATOR.INNER_NAME; `input_shape`, the detector's, is not used.

        Raises:
            ValueError: INNER_NAME is empty or names this class.
        """
        name = cfg.MODEL.PROPOSAL_GENERATOR.INNER_NAME
        if name in ("", cls.__name__):
            raise ValueError(
                f"MODEL.PROPOSAL_GENERATOR.INNER_NAME is {name!r}: {cls.__name__} needs the name of the proposal "
                "generator inside it, such as 'FasterRCNNRPN'."
            )
        backbone = build_backbone(cfg)
        generator = PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, backbone.output_shape())
        return {"backbone": backbone, "proposal_generator": generator}

    def forward(
        self,
        images: ImageList,
        features: Dict[str, torch.Tensor],
        gt_instances: Optional[List[Instances]] = None,
    ) -> Tuple[List[Instances], Dict[str, torch.Tensor]]:
        """As the proposal generator inside: proposals of N images, and losses in training.

        Args:
            images: (N, 3, H, W), as the backbones are fed.
            features: of the detector's backbone; not used.
            gt_instances: objects of N images, in training.
        """
        return self.proposal_generator(images, self.backbone(images.tensor), gt_instances)
