"""From decoded boxes and scores to the proposals of an image, in the original programs' order (SPEC 4.5).

All boxes -> clip to the image -> drop those with a side below the minimum -> sort by score -> keep the best before NMS
-> NMS -> keep the best. detectron2 cuts to the best *before* it clips and drops, so that boxes which are dropped take
places away; and it measures the minimum in pixels of the resized image.

Shape letters: N images, L levels, A anchors per cell, Hi x Wi cells of level i, B = 4.
"""

from typing import List, Optional, Tuple

import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

__all__ = ["clip_and_filter", "empty_proposals", "select_proposals"]


def empty_proposals(image_size: Tuple[int, int], like: torch.Tensor) -> Instances:
    """Return proposals of no box for an image of (height, width), on the device and in the type of `like`."""
    proposals = Instances(image_size)
    proposals.proposal_boxes = Boxes(like.new_zeros((0, 4)))
    proposals.objectness_logits = like.new_zeros((0,))
    return proposals


def select_proposals(
    boxes: List[torch.Tensor],
    logits: List[torch.Tensor],
    image_sizes: List[Tuple[int, int]],
    scales: List[Tuple[float, float]],
    *,
    min_box_size: float,
    pre_nms_topk: int,
    nms_thresh: Optional[float],
    post_nms_topk: int,
    training: bool,
) -> List[Instances]:
    """Select the proposals of N images.

    Args:
        boxes: L tensors of shape (N, Hi*Wi*A, 4), decoded boxes, continuous XYXY pixels of the network's input. The
            proposals keep their graph, if they have one, and clipped coordinates are constants in it.
        logits: L tensors of shape (N, Hi*Wi*A), object-minus-background logits.
        image_sizes: (height, width) of each network input without padding.
        scales: (vertical, horizontal) network pixels per original pixel, for each image.
        min_box_size: shortest allowed side in pixels of the *original* image, inclusive. Boxes that the clipping
            leaves without area are dropped in any case.
        pre_nms_topk: boxes that enter NMS, for each level as in detectron2.
        nms_thresh: a box is suppressed when its IoU with a better one of its level is larger; None suppresses none.
        post_nms_topk: largest number of proposals of an image, over all levels.
        training: whether boxes or scores that are not finite are an error; otherwise such boxes are dropped.

    Returns:
        N ``Instances`` with ``proposal_boxes`` and ``objectness_logits``, best first; possibly empty.

    Raises:
        FloatingPointError: a box or score is not finite in training.
    """
    results = []
    for n, (image_size, scale) in enumerate(zip(image_sizes, scales)):
        level_boxes, level_logits = [], []
        for boxes_i, logits_i in zip(boxes, logits):
            kept_boxes, kept_logits = _usable(boxes_i[n], logits_i[n], image_size, scale, min_box_size, n, training)
            # A stable order makes equal scores, frequent on flat regions, give the same proposals every time.
            kept_logits, order = kept_logits.sort(descending=True, stable=True)
            level_boxes.append(kept_boxes[order[:pre_nms_topk]])
            level_logits.append(kept_logits[:pre_nms_topk])
        all_boxes, all_logits = torch.cat(level_boxes), torch.cat(level_logits)
        levels = torch.cat([torch.full_like(b[:, 0], level, dtype=torch.int64) for level, b in enumerate(level_boxes)])

        if nms_thresh is None:
            keep = all_logits.sort(descending=True, stable=True)[1]
        else:
            # The boxes may be part of the graph; which of them are kept is not a function that has a derivative.
            keep = batched_nms(all_boxes.detach(), all_logits, levels, nms_thresh)
        keep = keep[:post_nms_topk]
        proposals = Instances(image_size)
        proposals.proposal_boxes = Boxes(all_boxes[keep])
        proposals.objectness_logits = all_logits[keep]
        results.append(proposals)
    return results


def _usable(
    boxes: torch.Tensor,
    logits: torch.Tensor,
    image_size: Tuple[int, int],
    scale: Tuple[float, float],
    min_box_size: float,
    image_index: int,
    training: bool,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Clip the boxes of one level of one image and drop those that are not finite or too small."""
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(logits)
    if not finite.all():
        if training:
            raise FloatingPointError(
                f"{int((~finite).sum())} of {len(finite)} predicted boxes or scores of image {image_index} of this "
                "batch are Inf or NaN. Training has diverged; a smaller SOLVER.BASE_LR is the usual remedy."
            )
        boxes, logits = boxes[finite], logits[finite]

    kept_boxes, places = clip_and_filter(boxes, image_size, scale, min_box_size)
    return kept_boxes, logits[places]


def clip_and_filter(
    boxes: torch.Tensor, image_size: Tuple[int, int], scale: Tuple[float, float], min_box_size: float
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Clip boxes of one image and drop those that are not finite or then too small.

    Args:
        boxes: (R, 4), continuous XYXY pixels of the network's input.
        image_size, scale, min_box_size: as in `select_proposals`, of this image.

    Returns:
        the boxes that remain, (R', 4), clipped and in the same order, and their places among `boxes`, int64 (R',).
    """
    places = torch.isfinite(boxes).all(dim=1).nonzero()[:, 0]
    clipped = Boxes(boxes[places])
    clipped.clip(image_size)
    boxes = clipped.tensor
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    large = (heights >= min_box_size * scale[0]) & (widths >= min_box_size * scale[1]) & (heights > 0) & (widths > 0)
    return boxes[large], places[large]
