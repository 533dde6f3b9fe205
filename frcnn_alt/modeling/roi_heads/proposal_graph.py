"""Keeps proposals part of the graph where detectron2 takes them for constants (SPEC 7.2).

detectron2 samples regions without gradients and refuses regions that have some in its losses. Both is right for what is
piecewise constant (matching, sampling, labels); here the boxes that were picked get their graph back.

Shape letters: R proposals of an image, S sampled regions of an image.
"""

from typing import List, Tuple

import torch
from detectron2.structures import Boxes, Instances

__all__ = ["as_constants", "have_graph", "numbered", "with_graph_of"]

_NUMBER = "proposal_number"
_NO_PROPOSAL = -1  # a ground-truth box that was appended


def have_graph(proposals: List[Instances]) -> bool:
    """Whether the boxes of any of these images have a gradient to pass on."""
    return any(image.proposal_boxes.tensor.requires_grad for image in proposals)


def as_constants(proposals: List[Instances]) -> List[Instances]:
    """Copies of the images' proposals, boxes without graph, all other fields the same objects."""
    constants = [_copy(image) for image in proposals]
    for image in constants:
        image.proposal_boxes = Boxes(image.proposal_boxes.tensor.detach())
    return constants


def numbered(proposals: List[Instances], targets: List[Instances]) -> Tuple[List[Instances], List[Instances]]:
    """Copies in which every proposal carries its number, so that `with_graph_of` knows it after the sampling.

    Ground-truth boxes carry a number that says they are none, since detectron2 appends them to the proposals.
    """
    proposals, targets = [_copy(image) for image in proposals], [_copy(image) for image in targets]
    for image in proposals:
        image.set(_NUMBER, torch.arange(len(image), device=image.proposal_boxes.device))
    for image in targets:
        image.set(_NUMBER, torch.full((len(image),), _NO_PROPOSAL, device=image.gt_boxes.device))
    return proposals, targets


def with_graph_of(proposals: List[Instances], sampled: List[Instances]) -> List[Instances]:
    """Give the boxes sampled from `numbered` proposals the graph of the originals; ground-truth boxes have none.

    Args:
        proposals: R of each image, those that were given to `numbered`.
        sampled: S of each image, changed.
    """
    for image, original in zip(sampled, proposals):
        numbers = image.get(_NUMBER)
        image.remove(_NUMBER)
        is_proposal = numbers != _NO_PROPOSAL
        boxes = image.proposal_boxes.tensor.clone()
        boxes[is_proposal] = original.proposal_boxes.tensor[numbers[is_proposal]]
        image.proposal_boxes = Boxes(boxes)
    return sampled


def _copy(image: Instances) -> Instances:
    return Instances(image.image_size, **image.get_fields())
