"""How many ground-truth boxes proposals cover: recall over IoU thresholds (paper section 4.1, Figure 4; SPEC 8.9).

A proposal set is measured once: for several numbers of proposals an image, and for objects of every size, from the same
overlaps. Recall of objects of one size is what the proposals reach if there are no others (detectron2's way): with the
rule "one_to_one", objects of other sizes take no proposal away.

Shape letters: G objects of all images, N limits (numbers of proposals an image), T IoU thresholds.
"""

import logging
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..proposals.proposal_set import ProposalSet
from .object_matching import OBJECT_SIZES, counted_objects, iou_with_objects, matched_overlaps, matching_rule

__all__ = ["FIGURE_THRESHOLDS", "RecallCurves", "matched_overlaps", "proposal_recall", "recall_curves"]

# Those of average recall, as of py-faster-rcnn, COCO and detectron2.
IOU_PERCENTS = range(50, 100, 5)
IOU_THRESHOLDS = tuple(percent / 100 for percent in IOU_PERCENTS)
# The x axis of Figure 4, finely enough for a smooth curve.
FIGURE_THRESHOLDS = tuple(percent / 100 for percent in range(50, 101))


@dataclass(frozen=True, eq=False)
class RecallCurves:
    """Recall of one proposal set over the IoU at which an object counts as covered.

    Recalls are shares, 0 to 1, as in Figure 4; NaN of a size of which there is no object.

    Attributes:
        dataset_name: that the set is of.
        rule: by which proposals were matched.
        limits: N numbers of proposals an image.
        thresholds: T IoUs.
        recall: size ("all", "small", "medium", "large") -> N x T.
        average_recall: size -> N means over the IoUs 0.50, 0.55 ... 0.95, whatever `thresholds` are.
        num_objects: size -> their number.
        num_images: of the data set.
        proposals_per_image: mean number of stored proposals, however many of them a limit lets pass.
    """

    dataset_name: str
    rule: str
    limits: Tuple[int, ...]
    thresholds: Tuple[float, ...]
    recall: Dict[str, np.ndarray]
    average_recall: Dict[str, np.ndarray]
    num_objects: Dict[str, int]
    num_images: int
    proposals_per_image: float

    def at(self, limit: int, iou: float, size: str = "all") -> float:
        """The recall of the best `limit` proposals at one of `thresholds`.

        Raises:
            ValueError: it was not measured there.
        """
        near = np.flatnonzero(np.isclose(self.thresholds, iou, rtol=0, atol=1e-6))
        if limit not in self.limits or not len(near):
            raise ValueError(f"recall was not measured for {limit} proposals at IoU {iou}, but for {self.limits}")
        return float(self.recall[size][self.limits.index(limit), near[0]])


def _covered(
    proposal_set: ProposalSet, dataset_dicts: Sequence[Dict[str, Any]], limits: Sequence[int], rule: str
) -> Tuple[Dict[Tuple[str, int], np.ndarray], int]:
    """(size, limit) -> the IoUs that all objects of that size are covered with; the number of proposals."""
    proposal_set.check_covers(dataset_dicts)
    match = matching_rule(rule)
    covered: Dict[Tuple[str, int], List[np.ndarray]] = {
        (s, n): [np.zeros(0, "f4")] for s in OBJECT_SIZES for n in limits
    }
    num_proposals = 0
    for dataset_dict in dataset_dicts:
        boxes, _ = proposal_set[dataset_dict["image_id"]]
        num_proposals += len(boxes)
        gt_boxes, areas = counted_objects(dataset_dict)
        if not len(gt_boxes):
            continue
        iou = iou_with_objects(gt_boxes, boxes[: max(limits)])
        matched: Dict[bytes, List[np.ndarray]] = {}  # often all objects of an image have one size
        for size, (smallest, largest) in OBJECT_SIZES.items():
            of_size = (areas >= smallest) & (areas <= largest)
            if not of_size.any():
                continue
            key = of_size.tobytes()
            if key not in matched:
                matched[key] = [match(iou[of_size, :limit]) for limit in limits]
            for limit, overlaps in zip(limits, matched[key]):
                covered[size, limit].append(overlaps)
    return {key: np.concatenate(overlaps) for key, overlaps in covered.items()}, num_proposals


def _recall(overlaps: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Share of G overlaps that reach each of T thresholds; NaN without any."""
    if not len(overlaps):
        return np.full(len(thresholds), np.nan)
    # IoUs are float32; a threshold in double precision would refuse an IoU that is exactly 0.7.
    return (overlaps[:, None] >= np.array(thresholds, dtype=np.float32)).mean(axis=0)


def recall_curves(
    proposal_set: ProposalSet,
    dataset_dicts: Sequence[Dict[str, Any]],
    limits: Sequence[int] = (300, 1000, 2000),
    rule: str = "one_to_one",
    thresholds: Sequence[float] = FIGURE_THRESHOLDS,
) -> RecallCurves:
    """Recall over IoU of the best proposals of each image, for several numbers of proposals and by object size.

    Difficult and crowd objects do not count. Sizes are COCO's, by "area" of the annotations where they have one (a COCO
    json does), else by the area of the box, in pixels of the original image. As in detectron2, but for images without
    any proposal: their objects are missed here, and not counted there.

    Args:
        proposal_set: covers every image of `dataset_dicts`; its boxes are ordered by score.
        dataset_dicts: detectron2 dicts with annotations.
        limits: numbers of proposals an image, taken by descending score.
        rule: "one_to_one" or "maximum", see :func:`matched_overlaps`.
        thresholds: IoUs; an object covered with exactly that IoU counts.

    Raises:
        ProposalSetError: an image is not in the set.
        ValueError: no such rule, or no limit.
    """
    if not limits or min(limits) < 1:
        raise ValueError(f"limits are {list(limits)}: name at least one number of proposals, from 1 on.")
    overlaps, num_proposals = _covered(proposal_set, dataset_dicts, limits, rule)
    if not len(overlaps["all", limits[0]]):
        logging.getLogger(__name__).warning(
            f"no ground-truth object to recall in {len(dataset_dicts)} images of {proposal_set.dataset_name}: "
            "its recalls are NaN"
        )
    recall, average, numbers = {}, {}, {}
    for size in OBJECT_SIZES:
        recall[size] = np.stack([_recall(overlaps[size, limit], thresholds) for limit in limits])
        average[size] = np.array([_recall(overlaps[size, limit], IOU_THRESHOLDS).mean() for limit in limits])
        numbers[size] = len(overlaps[size, limits[0]])
    return RecallCurves(
        dataset_name=proposal_set.dataset_name,
        rule=rule,
        limits=tuple(limits),
        thresholds=tuple(thresholds),
        recall=recall,
        average_recall=average,
        num_objects=numbers,
        num_images=len(dataset_dicts),
        proposals_per_image=num_proposals / len(dataset_dicts) if dataset_dicts else float("nan"),
    )


def proposal_recall(
    proposal_set: ProposalSet,
    dataset_dicts: Sequence[Dict[str, Any]],
    limits: Sequence[int] = (50, 100, 300, 1000, 2000),
    rule: str = "one_to_one",
) -> Dict[str, float]:
    """The figures of :func:`recall_curves` as detectron2's evaluators return theirs, in percent.

    Args:
        proposal_set, dataset_dicts, limits, rule: of :func:`recall_curves`.

    Returns:
        For each limit n: "recall50@n", "recall55@n" ... "recall95@n" (objects covered with at least that IoU, of all
        objects), "AR@n" (the mean of these ten), and by size "ARs@n", "ARm@n", "ARl@n", as detectron2 calls them. NaN
        if there are no objects, with a warning if there are none at all. Also "proposals_per_image", the mean number of
        stored proposals.

    Raises:
        ProposalSetError: an image is not in the set.
    """
    curves = recall_curves(proposal_set, dataset_dicts, limits, rule, IOU_THRESHOLDS)
    results: Dict[str, float] = {}
    for row, limit in enumerate(limits):
        for percent, recall in zip(IOU_PERCENTS, curves.recall["all"][row]):
            results[f"recall{percent}@{limit}"] = 100.0 * float(recall)
        for size, suffix in (("all", ""), ("small", "s"), ("medium", "m"), ("large", "l")):
            results[f"AR{suffix}@{limit}"] = 100.0 * float(curves.average_recall[size][row])
    results["proposals_per_image"] = curves.proposals_per_image
    return results
