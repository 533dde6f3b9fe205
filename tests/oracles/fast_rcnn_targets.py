"""Labels of regions and how many of them train the detector (SPEC 5.2).

The objects themselves are regions too. A region is foreground, of the class of the object that it overlaps most, if
that overlap is at least one half; background if it is in [`background_from`, 0.5); else it does not train. An image
gives 64 regions: at most a quarter foreground, the rest background, both as far as there are any.
"""

from typing import List, Sequence, Tuple

from .fast_rcnn_boxes import best_overlap

IGNORED = -1


def label_regions(
    regions: Sequence[Sequence[float]],
    objects: Sequence[Sequence[float]],
    classes: Sequence[int],
    num_classes: int,
    *,
    background_from: float,
    foreground_from: float = 0.5,
) -> List[Tuple[int, int]]:
    """(label, index of the object) of each region; label K is background, -1 is neither.

    The index is that of the object the region overlaps most, -1 in an image without objects.
    """
    labels = []
    for region in regions:
        index, value = best_overlap(region, objects)
        if index >= 0 and value >= foreground_from:
            labels.append((int(classes[index]), index))
        elif value >= background_from:
            labels.append((num_classes, index))
        else:
            labels.append((IGNORED, index))
    return labels


def sampling_counts(
    foreground: int, background: int, regions_per_image: int = 64, fraction: float = 0.25
) -> Tuple[int, int]:
    """How many (foreground, background) regions of an image are drawn from so many.

    Background takes the places that foreground leaves; foreground never takes more than its share.
    """
    chosen = min(foreground, int(regions_per_image * fraction))
    return chosen, min(background, regions_per_image - chosen)
