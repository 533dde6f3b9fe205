"""How many ground-truth boxes proposals cover: recall over IoU thresholds (paper section 4.1, Figure 4; SPEC 8.9).

The paper does not state how boxes are matched. The default rule is that of py-faster-rcnn: one proposal covers one
object, the best covered object is served first. "maximum" takes each object's best proposal regardless of the others.

Shape letters: G ground-truth boxes, R proposals of one image, B = 4.
"""

import logging
from typing import Any, Dict, Sequence

import numpy as np
from detectron2.structures import Boxes, BoxMode, pairwise_iou

from ..proposals.proposal_set import ProposalSet

__all__ = ["matched_overlaps", "proposal_recall"]

IOU_PERCENTS = range(50, 100, 5)
# IoUs are float32; a threshold in double precision would refuse an IoU that is exactly 0.7.
IOU_THRESHOLDS = np.array(IOU_PERCENTS, dtype=np.float32) / np.float32(100)


def _match_one_to_one(iou: np.ndarray) -> np.ndarray:
    iou = iou.copy()
    matched = np.zeros(len(iou), dtype=iou.dtype)
    if iou.size == 0:
        return matched
    best_box = iou.argmax(axis=1)
    best_iou = iou.max(axis=1)
    for _ in range(min(iou.shape)):
        gt = best_iou.argmax()
        box = best_box[gt]
        matched[gt] = best_iou[gt]
        best_iou[gt] = -1
        iou[:, box] = -1
        # Only objects that wanted the box just taken need another one.
        for other in np.flatnonzero((best_box == box) & (best_iou >= 0)):
            best_box[other] = iou[other].argmax()
            best_iou[other] = iou[other, best_box[other]]
    return matched


def _match_maximum(iou: np.ndarray) -> np.ndarray:
    return iou.max(axis=1, initial=0)


_RULES = {"one_to_one": _match_one_to_one, "maximum": _match_maximum}


def _pairwise_iou(gt_boxes: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return pairwise_iou(Boxes(np.reshape(gt_boxes, (-1, 4))), Boxes(np.reshape(boxes, (-1, 4)))).numpy()


def matched_overlaps(boxes: np.ndarray, gt_boxes: np.ndarray, rule: str = "one_to_one") -> np.ndarray:
    """Return for each ground-truth box of one image the IoU with the proposal matched to it.

    Args:
        boxes: R x 4, XYXY, continuous pixels.
        gt_boxes: G x 4, same frame.
        rule: "one_to_one": repeatedly the pair of highest IoU is matched and both are taken out, as py-faster-rcnn's
            recall evaluation does; "maximum": the highest IoU over all proposals.

    Returns:
        G float32 values, in the order of `gt_boxes`; 0 where no proposal is left or overlaps.
    """
    return _RULES[rule](_pairwise_iou(gt_boxes, boxes))


def _counted_boxes(dataset_dict: Dict[str, Any]) -> np.ndarray:
    boxes = [
        BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        for annotation in dataset_dict.get("annotations", ())
        if not annotation.get("iscrowd", 0) and not annotation.get("difficult", 0)
    ]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def proposal_recall(
    proposal_set: ProposalSet,
    dataset_dicts: Sequence[Dict[str, Any]],
    limits: Sequence[int] = (50, 100, 300, 1000, 2000),
    rule: str = "one_to_one",
) -> Dict[str, float]:
    """Recall of the best proposals of each image, for several numbers of proposals an image.

    Difficult and crowd objects do not count.

    Args:
        proposal_set: covers every image of `dataset_dicts`.
        dataset_dicts: detectron2 dicts with annotations.
        limits: numbers of proposals an image, taken by descending score.
        rule: see :func:`matched_overlaps`.

    Returns:
        In percent for each limit n: "recall50@n", "recall55@n" ... "recall95@n" (objects covered with at least that
        IoU, of all objects) and "AR@n" (the mean of these ten). NaN, with a warning, if there are no objects. Also
        "proposals_per_image", the mean number of stored proposals.

    Raises:
        ProposalSetError: an image is not in the set.
    """
    proposal_set.check_covers(dataset_dicts)
    match = _RULES[rule]
    overlaps = {limit: [np.zeros(0, np.float32)] for limit in limits}
    num_proposals = 0
    for dataset_dict in dataset_dicts:
        boxes, _ = proposal_set[dataset_dict["image_id"]]
        num_proposals += len(boxes)
        gt_boxes = _counted_boxes(dataset_dict)
        if len(gt_boxes):
            iou = _pairwise_iou(gt_boxes, boxes[: max(limits)])
            for limit in limits:
                overlaps[limit].append(match(iou[:, :limit]))

    results: Dict[str, float] = {}
    for limit in limits:
        matched = np.concatenate(overlaps[limit])
        if len(matched):
            recalls = 100.0 * (matched[:, None] >= IOU_THRESHOLDS).mean(axis=0)
        else:
            recalls = np.full(len(IOU_THRESHOLDS), np.nan)
        for percent, recall in zip(IOU_PERCENTS, recalls):
            results[f"recall{percent}@{limit}"] = float(recall)
        results[f"AR@{limit}"] = float(recalls.mean())
    results["proposals_per_image"] = num_proposals / len(dataset_dicts) if dataset_dicts else float("nan")
    if np.isnan(recalls).any():
        logging.getLogger(__name__).warning(
            f"no ground-truth object to recall in {len(dataset_dicts)} images of {proposal_set.dataset_name}: "
            "its recalls are NaN"
        )
    return results
