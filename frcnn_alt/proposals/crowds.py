"""Which stored proposals a detector does not train on because they show a crowd (SPEC 6.5).

COCO marks groups of objects that nobody outlined one by one as crowds. They are no objects to learn, but what lies
inside of them is no background either: py-faster-rcnn trains on neither.

Shape letters: R proposals, C crowds, B = 4.
"""

from typing import Any, Dict, Tuple

import numpy as np
from detectron2.structures import BoxMode

__all__ = ["leave_out_crowds"]


def leave_out_crowds(
    boxes: np.ndarray, scores: np.ndarray, image: Dict[str, Any], threshold: float, topk: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Return the proposals of an image less those of whose area more than a share lies inside one crowd box.

    Like py-faster-rcnn, which takes its best proposals first and drops those in crowds afterwards, so that an image
    with crowds trains on fewer of them. Only in an image with crowds does anything change.

    Args:
        boxes: (R, 4), XYXY in continuous pixels of the original image, best first.
        scores: (R,).
        image: a detectron2 dictionary. Crowds are its annotations with "iscrowd", but for VOC's "difficult" objects,
            which carry that flag here to be left out of training: they are one object each.
        threshold: of the share, from 0 to 1; a proposal with exactly this share is kept.
        topk: how many proposals a training uses.

    Returns:
        The boxes and scores that are kept, in their order.
    """
    crowds = [
        BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS)
        for annotation in image.get("annotations", ())
        if annotation.get("iscrowd", 0) and not annotation.get("difficult", 0)
    ]
    if not crowds:
        return boxes, scores
    boxes, scores = boxes[:topk], scores[:topk]
    # In float64 and in the frame of the file, so that the pass over the statistics keeps what training keeps.
    whole = np.array([image["width"], image["height"]] * 2, np.float64)
    clipped = np.clip(boxes.astype(np.float64), 0, whole)[:, None]  # R x 1 x 4: a training clips them, too
    crowd = np.clip(np.array(crowds, np.float64), 0, whole)[None]  # 1 x C x 4
    common = np.minimum(clipped[..., 2:], crowd[..., 2:]) - np.maximum(clipped[..., :2], crowd[..., :2])
    inside = common.clip(min=0).prod(axis=2).max(axis=1)  # R: pixels inside the crowd that holds most of it
    area = (clipped[..., 2:] - clipped[..., :2]).prod(axis=2)[:, 0]
    share = np.divide(inside, area, out=np.zeros_like(area), where=area > 0)  # a tie stays one, unlike a product's
    kept = share <= threshold
    return boxes[kept], scores[kept]
