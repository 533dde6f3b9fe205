"""PASCAL VOC's average precision (SPEC 2): 11-point for 2007, area under the curve otherwise, difficult ignored.

detectron2's own evaluator reads the annotation files again and rounds boxes to 0.1 and scores to 0.001, which makes
ties; this one measures the dictionaries that everything else uses, so what is left out there is left out here, and
gives each class its AP. The precision-recall curve becomes a number in detectron2's ``voc_ap``.

Shape letters: D detections of one class over all images, G ground-truth boxes of one class in one image, B = 4.
"""

import itertools
import logging
from collections import OrderedDict
from typing import Any, Dict, Hashable, List, Optional, Tuple

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.pascal_voc_evaluation import voc_ap
from detectron2.utils import comm

from .detections import detected_instances, ground_truth_arrays

__all__ = ["VOCDetectionEvaluator", "voc_average_precision"]

IOU_PERCENTS = tuple(range(50, 100, 5))

# boxes D x 4 (XYXY, continuous), scores D, labels D of one image
Detections = Tuple[np.ndarray, np.ndarray, np.ndarray]


def voc_overlaps(boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """Return D x G IoU of continuous boxes as VOC counts it: corners inclusive, a width is xmax - xmin + 1.

    In 1-based inclusive corners a continuous box is (x1 + 1, y1 + 1, x2, y2); widths are then x2 - x1, as they are in
    continuous corners, so that VOC's "+ 1" and the shift cancel out exactly.
    """
    low = np.maximum(boxes[:, None, :2], gt_boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], gt_boxes[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    areas, gt_areas = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, gt_boxes))
    union = areas[:, None] + gt_areas[None] - intersection
    return intersection / np.maximum(union, np.finfo(np.float64).eps)


def voc_average_precision(
    detections: Dict[Hashable, Tuple[np.ndarray, np.ndarray]],
    ground_truth: Dict[Hashable, Tuple[np.ndarray, np.ndarray]],
    iou_thresholds: np.ndarray,
    eleven_point: bool,
) -> np.ndarray:
    """Average precision of one class at several IoU thresholds.

    A detection is matched to the ground-truth box that it overlaps most, difficult ones included. Above the threshold
    it is true if it is the best scored one matched to that box, false if it is a later one, and counts as neither if
    the box is difficult. Otherwise it is false.

    Args:
        detections: image id -> boxes D x 4 (XYXY, continuous pixels), scores D.
        ground_truth: image id -> boxes G x 4 (same frame), difficult G (bool); the images of `detections` are in it.
        iou_thresholds: T values; an overlap counts if it is greater.
        eleven_point: VOC 2007's way from the curve to the number; False for the area under it.

    Returns:
        T values from 0 to 1; NaN if there is no box that is not difficult.
    """
    positives = sum(int((~difficult).sum()) for _, difficult in ground_truth.values())
    if positives == 0:
        return np.full(len(iou_thresholds), np.nan)
    scores, overlaps, matches, difficults = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, int)], [np.zeros(0, bool)]
    first_box = 0  # running number of an image's first ground-truth box, so that each box has a number of its own
    for image_id, (gt_boxes, gt_difficult) in ground_truth.items():
        boxes, image_scores = detections.get(image_id, (np.zeros((0, 4)), np.zeros(0)))
        if len(boxes):
            iou = voc_overlaps(boxes, gt_boxes) if len(gt_boxes) else np.zeros((len(boxes), 1))
            best = iou.argmax(axis=1)
            scores.append(image_scores)
            overlaps.append(iou.max(axis=1))
            matches.append(first_box + best)
            difficults.append(gt_difficult[best] if len(gt_boxes) else np.zeros(len(boxes), bool))
        first_box += max(1, len(gt_boxes))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    overlap, match, difficult = (np.concatenate(part)[order] for part in (overlaps, matches, difficults))
    if len(order) == 0:
        return np.zeros(len(iou_thresholds))

    aps = []
    for threshold in iou_thresholds:
        hit = overlap > threshold
        candidates = np.flatnonzero(hit & ~difficult)
        true = np.zeros(len(order), bool)
        true[candidates[np.unique(match[candidates], return_index=True)[1]]] = True
        true_positives = true.cumsum()
        false_positives = (~true & ~(hit & difficult)).cumsum()
        recall = true_positives / positives
        precision = true_positives / np.maximum(true_positives + false_positives, np.finfo(np.float64).eps)
        aps.append(voc_ap(recall, precision, use_07_metric=eleven_point))
    return np.array(aps, dtype=np.float64)


class VOCDetectionEvaluator(DatasetEvaluator):
    """Evaluates detections on a VOC-layout data set. Every process takes part, the main one measures.

    Args:
        dataset_name: for messages.
        class_names: in order of the labels.
        dataset_dicts: with annotations and ``difficult`` flags, e.g. from ``frcnn_alt.data.load_dataset_dicts``.
        eleven_point: True for VOC 2007 and folders of one's own, False for 2012.
    """

    def __init__(
        self,
        dataset_name: str,
        class_names: List[str],
        dataset_dicts: List[Dict[str, Any]],
        *,
        eleven_point: bool = True,
    ):
        self.dataset_name = dataset_name
        self.class_names = class_names
        self.eleven_point = eleven_point
        self._ground_truth = {record["image_id"]: ground_truth_arrays(record) for record in dataset_dicts}
        self.reset()

    def reset(self) -> None:
        self._detections: Dict[Hashable, Detections] = {}

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """Take the detections of a batch.

        Raises:
            ValueError: the output has no detections, or the image is not one of the data set.
        """
        for record, output in zip(inputs, outputs):
            instances = detected_instances(output)
            image_id = record["image_id"]
            if image_id not in self._ground_truth:
                raise ValueError(f"Image {image_id!r} ({record.get('file_name')}) is not in {self.dataset_name}.")
            self._detections[image_id] = (
                instances.pred_boxes.tensor.double().numpy(),
                instances.scores.double().numpy(),
                instances.pred_classes.numpy(),
            )

    def evaluate(self) -> Optional[Dict[str, Dict[str, float]]]:
        """Return {"bbox": {"AP", "AP50", "AP75", "AP50-<class>" ...}} in percent; None on other processes.

        AP is the mean over IoU 0.50, 0.55 ... 0.95. Means are over the classes that have an object; one that has none
        gets NaN.
        """
        gathered = comm.gather(self._detections, dst=0)
        if not comm.is_main_process():
            return None
        detections = dict(itertools.chain.from_iterable(part.items() for part in gathered))
        logger = logging.getLogger(__name__)
        if len(detections) < len(self._ground_truth):
            left = len(self._ground_truth) - len(detections)
            logger.warning(
                f"{left} of {len(self._ground_truth)} images of {self.dataset_name} were not shown to the model."
            )

        by_class = np.stack([self._average_precision(label, detections) for label in range(len(self.class_names))])
        absent = [name for name, aps in zip(self.class_names, by_class) if np.isnan(aps).all()]
        if absent:
            logger.warning(f"No object to find in {self.dataset_name}, hence no AP: {', '.join(absent)}.")
        present = by_class[~np.isnan(by_class).all(axis=1)]
        means = 100 * present.mean(axis=0) if len(present) else np.full(len(IOU_PERCENTS), np.nan)
        result = OrderedDict(
            AP=float(means.mean()),
            AP50=float(means[IOU_PERCENTS.index(50)]),
            AP75=float(means[IOU_PERCENTS.index(75)]),
        )
        for name, aps in zip(self.class_names, by_class):
            result[f"AP50-{name}"] = float(100 * aps[IOU_PERCENTS.index(50)])
        return OrderedDict(bbox=result)

    def _average_precision(self, label: int, detections: Dict[Hashable, Detections]) -> np.ndarray:
        of_class = {}
        for image_id, (boxes, scores, labels) in detections.items():
            chosen = labels == label
            of_class[image_id] = boxes[chosen], scores[chosen]
        truth = {}
        for image_id, arrays in self._ground_truth.items():
            chosen = arrays["labels"] == label
            truth[image_id] = arrays["boxes"][chosen], arrays["difficult"][chosen]
        return voc_average_precision(of_class, truth, np.array(IOU_PERCENTS) / 100, self.eleven_point)
