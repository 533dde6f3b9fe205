"""Which anchors are positive, negative or ignored in an image (paper 3.1.2, SPEC 4.2).

The rules are detectron2's own ``Matcher``; what differs is the set of anchors they are applied to. Anchors that cross
the image boundary are taken out *before* matching, as in both original programs, so that an object whose best anchor
crosses the boundary makes the best of the remaining anchors positive; detectron2 takes them out afterwards and such an
object gets none.

Shape letters: R anchors of an image over all levels, M ground-truth boxes, B = 4.
"""

from typing import Tuple

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.memory import retry_if_cuda_oom

__all__ = ["IGNORED", "NEGATIVE", "POSITIVE", "inside_image", "match_anchors"]

IGNORED, NEGATIVE, POSITIVE = -1, 0, 1


def inside_image(boxes: Boxes, image_size: Tuple[int, int], tolerance: float = 0.0) -> torch.Tensor:
    """Return which of R boxes lie in the image, a bool tensor of shape (R,).

    Boxes that are flush with an edge are inside, on all four sides (``Boxes.inside_box`` is strict at the right and the
    bottom and would lose 361 of the 8151 anchors of a 600 x 1000 image, SPEC 4.2).

    Args:
        boxes: continuous XYXY pixels.
        image_size: (height, width) of the network's input without padding.
        tolerance: pixels by which a box may reach beyond an edge.
    """
    height, width = image_size
    x1, y1, x2, y2 = boxes.tensor.unbind(dim=1)
    return (x1 >= -tolerance) & (y1 >= -tolerance) & (x2 <= width + tolerance) & (y2 <= height + tolerance)


@torch.no_grad()
def match_anchors(
    anchors: Boxes, gt_boxes: Boxes, image_size: Tuple[int, int], matcher: Matcher, boundary_thresh: float
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Label all anchors of one image, without sampling (SPEC 4.2).

    A ground-truth box that no candidate anchor overlaps makes no anchor positive. Both original programs, and
    ``Matcher``, would take every anchor that has IoU 0 with it for a tie at its maximum; that is a defect of theirs and
    is not copied.

    Args:
        anchors: R boxes, continuous XYXY pixels of the network's input.
        gt_boxes: M boxes in the same frame; M may be 0.
        image_size: (height, width) of the network's input without padding.
        matcher: thresholds and labels; the paper's are [0.3, 0.7] and [0, -1, 1], with low quality matches.
        boundary_thresh: pixels by which an anchor may cross the boundary; below 0 all anchors are candidates.

    Returns:
        labels: int8 (R,), 1 positive, 0 negative, -1 ignored or crossing the boundary.
        matched_boxes: (R, 4), the ground-truth box with which a positive anchor has its largest IoU, also when the
            anchor is positive by being the best one of another box. Zeros where there is none.
    """
    labels = torch.full((len(anchors),), IGNORED, dtype=torch.int8, device=anchors.device)
    matched_boxes = torch.zeros_like(anchors.tensor)
    if boundary_thresh >= 0:
        candidates = inside_image(anchors, image_size, boundary_thresh).nonzero().squeeze(1)
    else:
        candidates = torch.arange(len(anchors), device=anchors.device)

    iou = retry_if_cuda_oom(pairwise_iou)(gt_boxes, anchors[candidates])  # (M, candidates)
    # Leaving out the rows without overlap changes no maximum over the boxes, but takes the ties at 0 away.
    overlapped = (iou > 0).any(dim=1).nonzero().squeeze(1)
    matches, candidate_labels = retry_if_cuda_oom(matcher)(iou[overlapped])

    # When memory runs out the matching is done on the CPU.
    labels[candidates] = candidate_labels.to(labels.device)
    if len(overlapped) > 0:
        matched_boxes[candidates] = gt_boxes.tensor[overlapped[matches].to(gt_boxes.device)]
    return labels, matched_boxes
