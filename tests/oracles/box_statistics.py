"""Mean and deviation of the box regression targets of each class (SPEC 5.3).

Counted is every training region that overlaps an object by at least one half, none left out by sampling. The objects
themselves are regions too, and the mirror image of every training image is a training image too.
"""

from typing import Sequence, Tuple

import numpy as np

from .fast_rcnn_boxes import best_overlap, encode


def mirrored(boxes: np.ndarray, width: float) -> np.ndarray:
    """Boxes (R, 4) in the mirror image of an image of this width."""
    return np.array([[width - x2, y1, width - x1, y2] for x1, y1, x2, y2 in boxes]).reshape(-1, 4)


def box_statistics_per_class(
    regions: Sequence[np.ndarray],
    objects: Sequence[np.ndarray],
    classes: Sequence[Sequence[int]],
    num_classes: int,
    *,
    width: float,
    foreground_from: float = 0.5,
    with_objects: bool = True,
) -> Tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation, each (K, 4), over images.

    Args:
        regions: image by image, (R, 4).
        objects: image by image, (M, 4).
        classes: image by image, the class of each object.
        num_classes: K. A class without any region gets mean 0 and deviation 1, that is, raw targets.
        width: of the images.
        foreground_from: least overlap of a region that counts.
        with_objects: whether the objects are regions themselves.
    """
    samples = [[] for _ in range(num_classes)]
    for image_regions, image_objects, image_classes in zip(regions, objects, classes):
        for flipped in (False, True):
            boxes = np.asarray(image_regions, dtype=np.float64).reshape(-1, 4)
            targets = np.asarray(image_objects, dtype=np.float64).reshape(-1, 4)
            if flipped:
                boxes, targets = mirrored(boxes, width), mirrored(targets, width)
            if with_objects:
                boxes = np.concatenate([boxes, targets])
            for box in boxes:
                index, value = best_overlap(box, targets)
                if value >= foreground_from:
                    samples[image_classes[index]].append(encode(box, targets[index]))
    means = [np.mean(of_class, axis=0) if of_class else np.zeros(4) for of_class in samples]
    deviations = [np.std(of_class, axis=0) if of_class else np.ones(4) for of_class in samples]
    return np.array(means), np.array(deviations)
