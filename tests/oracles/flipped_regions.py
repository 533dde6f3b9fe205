"""Mean and deviation of each class's box targets where flipped images have regions of their own (SPEC 4.5, 5.3).

Every training image stands twice among the training images: as it is, with the regions found on it, and flipped, with
those found on the flipped image. Of both, all regions that overlap an object by at least one half count, the objects
themselves among them.
"""

from typing import Sequence, Tuple

import numpy as np

from .box_statistics import mirrored
from .fast_rcnn_boxes import best_overlap, encode


def box_statistics_with_flipped_regions(
    regions: Sequence[np.ndarray],
    flipped_regions: Sequence[np.ndarray],
    objects: Sequence[np.ndarray],
    classes: Sequence[Sequence[int]],
    num_classes: int,
    width: float,
) -> Tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation, each (K, 4); boxes have continuous corners.

    Args:
        regions: image by image, (R, 4).
        flipped_regions: image by image, (R', 4), as they were found: in the flipped image.
        objects: image by image, (M, 4), in the image as it is.
        classes: image by image, the class of each object.
        num_classes: K. A class without any region gets mean 0 and deviation 1.
        width: of the images.
    """
    images = list(zip(regions, objects, classes))
    images += [(boxes, mirrored(o, width), c) for boxes, o, c in zip(flipped_regions, objects, classes)]
    samples = [[] for _ in range(num_classes)]
    for boxes, targets, labels in images:
        for box in [*boxes, *targets]:
            index, overlap = best_overlap(box, targets)
            if overlap >= 0.5:
                samples[labels[index]].append(encode(box, targets[index]))
    mean = [np.mean(of_class, axis=0) if of_class else np.zeros(4) for of_class in samples]
    deviation = [np.std(of_class, axis=0) if of_class else np.ones(4) for of_class in samples]
    return np.array(mean), np.array(deviation)
