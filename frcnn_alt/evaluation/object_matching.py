"""Which proposal covers which object of an image, and how large an object is (paper section 4.1; SPEC 8.9).

The paper does not state how boxes are matched. The default rule is that of py-faster-rcnn: one proposal covers one
object, the best covered object is served first. "maximum" takes each object's best proposal regardless of the others.

Shape letters: G ground-truth boxes, R proposals of one image, B = 4.
"""

import math
from typing import Any, Callable, Dict, Tuple

import numpy as np
from detectron2.structures import Boxes, BoxMode, pairwise_iou

__all__ = ["OBJECT_SIZES", "counted_objects", "iou_with_objects", "matched_overlaps", "matching_rule"]

# COCO's, by area in pixels of the original image. Both ends belong to a size, as in COCO's program and in detectron2:
# an object of exactly 1024 pixels is small and medium.
OBJECT_SIZES: Dict[str, Tuple[float, float]] = {
    "all": (0, math.inf),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, math.inf),
}


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


def matching_rule(rule: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function from the IoUs of an image (G x R) to those that its objects are covered with (G).

    Raises:
        ValueError: there is no such rule.
    """
    if rule not in _RULES:
        raise ValueError(f"there is no matching rule {rule!r}; it is one of {', '.join(_RULES)}.")
    return _RULES[rule]


def iou_with_objects(gt_boxes: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of each object with each proposal, G x R, float32."""
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

    Raises:
        ValueError: there is no such rule.
    """
    return matching_rule(rule)(iou_with_objects(gt_boxes, boxes))


def counted_objects(dataset_dict: Dict[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
    """Boxes (G x 4 float32, XYXY, continuous pixels) and areas (G) of an image's objects that count.

    Crowd and difficult ones do not. The area is the annotation's own "area" where it has one: COCO's is that of the
    object's mask, which decides on COCO's sizes and in the figures published by size. Otherwise it is the box's.
    """
    boxes, areas = [], []
    for annotation in dataset_dict.get("annotations", ()):
        if annotation.get("iscrowd", 0) or annotation.get("difficult", 0):
            continue
        x1, y1, x2, y2 = BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS)
        boxes.append((x1, y1, x2, y2))
        areas.append(annotation.get("area", (x2 - x1) * (y2 - y1)))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(areas, dtype=np.float64)
