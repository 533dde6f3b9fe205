"""Detections that an evaluation wrote, image by image, and how good those of an image are.

The quality of an image is an F-measure at IoU 0.5: detections with at least the score threshold are matched to ground
truth of their class as PASCAL VOC matches them (by descending score; a second detection of an object is wrong; one on a
difficult object counts neither way), and F = 2 TP / (2 TP + wrong + missed).

Shape letters: R detections, G ground-truth boxes, B = 4; boxes are XYXY in continuous pixels of the original image.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
from detectron2.structures import Boxes, pairwise_iou

from .run import ReportError
from .text import visible

__all__ = ["ImageDetections", "ImageQuality", "image_quality", "read_detections"]


@dataclass(frozen=True)
class ImageDetections:
    """One line of a detections.jsonl.

    Attributes:
        image_id, file_name, width, height: of the image.
        boxes, scores, labels: R x 4, R, R; best first; labels are indices of `classes`.
        gt_boxes, gt_labels, gt_difficult: G x 4, G, G.
    """

    image_id: str
    file_name: str
    width: int
    height: int
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    gt_difficult: np.ndarray


@dataclass(frozen=True)
class ImageQuality:
    """How good the detections of one image are.

    Attributes:
        correct: R' bools, for the detections with at least the score threshold: matched to an object.
        ignored: R' bools: on a difficult object.
        found: G bools: matched by a detection.
        num_objects: ground-truth boxes that are not difficult.
        num_missed, num_wrong: objects without detection, detections without object.
        mean_iou: of the correct detections, 0 if there is none.
        f_measure: between 0 and 1; 1 where there is nothing to find and nothing was detected.
    """

    correct: np.ndarray = field(repr=False)
    ignored: np.ndarray = field(repr=False)
    found: np.ndarray = field(repr=False)
    num_objects: int
    num_missed: int
    num_wrong: int
    mean_iou: float

    @property
    def f_measure(self) -> float:
        right = 2 * (self.num_objects - self.num_missed)
        all_errors = self.num_wrong + self.num_missed
        return right / (right + all_errors) if right + all_errors else 1.0


def read_detections(path: str) -> Tuple[List[str], Iterator[ImageDetections]]:
    """Read a detections.jsonl; images are parsed one by one as they are asked for.

    Returns:
        The class names, and an iterator over the images.

    Raises:
        ReportError: a line is damaged.
    """
    with open(path, "rb") as file:
        header = _parse(path, 1, file.readline())
    classes = header.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ReportError(f"{path}: the first line names no classes; is it another program's?")
    return [visible(name) for name in classes], _read_images(path, len(classes))


def _read_images(path: str, num_classes: int) -> Iterator[ImageDetections]:
    with open(path, "rb") as file:
        next(file)
        for number, line in enumerate(file, start=2):
            record = _parse(path, number, line)
            try:
                image = ImageDetections(
                    image_id=visible(str(record["image_id"])),
                    file_name=record["file_name"],
                    width=record["width"],
                    height=record["height"],
                    boxes=np.array(record["boxes"], dtype=np.float32).reshape(-1, 4),
                    scores=np.array(record["scores"], dtype=np.float32),
                    labels=np.array(record["labels"], dtype=np.int64),
                    gt_boxes=np.array(record["gt_boxes"], dtype=np.float32).reshape(-1, 4),
                    gt_labels=np.array(record["gt_labels"], dtype=np.int64),
                    gt_difficult=np.array(record["gt_difficult"], dtype=bool),
                )
                _check(image, num_classes)
            except (KeyError, OverflowError, TypeError, ValueError) as error:
                raise ReportError(f"{path}, line {number} is damaged: {error}") from error
            yield image


def _check(image: ImageDetections, num_classes: int) -> None:
    """Raise ValueError where the values of a line do not go together."""
    for boxes, *others in (
        (image.boxes, image.scores, image.labels),
        (image.gt_boxes, image.gt_labels, image.gt_difficult),
    ):
        if any(values.shape != (len(boxes),) for values in others):
            raise ValueError("it has not as many labels and scores as boxes")
        labels = others[0] if boxes is image.gt_boxes else others[1]
        if not np.isfinite(boxes).all() or (labels < 0).any() or (labels >= num_classes).any():
            raise ValueError("it has a box that is not finite, or a label that no class has")
    if not isinstance(image.file_name, str):
        raise ValueError("its file_name is no text")


def _parse(path: str, number: int, line: bytes) -> Dict[str, Any]:
    try:
        record = json.loads(line)
        assert isinstance(record, dict)
        return record
    except (ValueError, RecursionError, AssertionError) as error:
        raise ReportError(f"{path}, line {number} is damaged; evaluate again with --eval-only.") from error


def image_quality(image: ImageDetections, score_threshold: float, iou_threshold: float = 0.5) -> ImageQuality:
    """Match the detections of one image that have at least `score_threshold` to its objects."""
    shown = image.scores >= score_threshold
    boxes, labels = image.boxes[shown], image.labels[shown]
    correct, ignored = np.zeros(len(boxes), dtype=bool), np.zeros(len(boxes), dtype=bool)
    found = np.zeros(len(image.gt_boxes), dtype=bool)
    overlaps: List[float] = []
    iou = pairwise_iou(Boxes(boxes), Boxes(image.gt_boxes)).numpy()
    for detection in np.argsort(-image.scores[shown], kind="stable"):
        candidates = np.where(image.gt_labels == labels[detection], iou[detection], 0.0)
        best = candidates.argmax() if len(candidates) else -1
        if best < 0 or candidates[best] < iou_threshold:
            continue
        if image.gt_difficult[best]:
            ignored[detection] = True
        elif not found[best]:
            correct[detection] = found[best] = True
            overlaps.append(float(candidates[best]))
    num_objects = int((~image.gt_difficult).sum())
    return ImageQuality(
        correct=correct,
        ignored=ignored,
        found=found,
        num_objects=num_objects,
        num_missed=num_objects - int(found.sum()),
        num_wrong=int((~correct & ~ignored).sum()),
        mean_iou=float(np.mean(overlaps)) if overlaps else 0.0,
    )
