"""Recall of proposals, written from py-faster-rcnn's rule and from the plain one (SPEC 8.9).

One-to-one, in each image: of the objects that are left, the one covered best by the boxes that are left is served with
that box, then object and box are taken out; until objects or boxes are used up. Of equals the first object, and its
first box. Plain maximum: every object gets its best box, whoever else got that box.

An object is covered at a threshold if its IoU is at least the threshold; recall is the covered objects of all images
over all objects; AR is the mean recall over the thresholds 0.5, 0.55 ... 0.95. Recall of small, medium or large objects
is that of a data set without the others. Boxes are continuous: the width is x2 - x1.
"""

from .overlap import overlap

# By area in pixels; the ends belong to both sizes (COCO).
AREAS = {"": (0, 1e10), "s": (0, 1024), "m": (1024, 9216), "l": (9216, 1e10)}
PERCENTS = [50, 55, 60, 65, 70, 75, 80, 85, 90, 95]


def one_to_one_overlaps(boxes, objects):
    """IoU that each object of an image is served with, in the order of the objects; 0 for those that get no box."""
    served = [0.0] * len(objects)
    objects_left, boxes_left = list(range(len(objects))), list(range(len(boxes)))
    while objects_left and boxes_left:
        best = (-1.0, None, None)
        for number in objects_left:
            for box in boxes_left:
                iou = overlap(boxes[box], objects[number])
                if iou > best[0]:
                    best = (iou, number, box)
        iou, number, box = best
        served[number] = iou
        objects_left.remove(number)
        boxes_left.remove(box)
    return served


def maximum_overlaps(boxes, objects):
    """The highest IoU of each object of an image; 0 without boxes."""
    return [max((overlap(box, one) for box in boxes), default=0.0) for one in objects]


def covered(images, limit, overlaps=one_to_one_overlaps, size=""):
    """The IoUs that the objects of one size get, in all images of (boxes, scores, objects, their areas).

    Only the `limit` boxes of an image with the highest scores count, equal scores in the order given. Objects of other
    sizes are as if they were not there.
    """
    smallest, largest = AREAS[size]
    found = []
    for boxes, scores, objects, areas in images:
        order = sorted(range(len(boxes)), key=lambda row: -scores[row])[:limit]
        wanted = [one for one, area in zip(objects, areas) if smallest <= area <= largest]
        found += overlaps([boxes[row] for row in order], wanted)
    return found


def share(ious, threshold):
    """Of all IoUs those that are at least the threshold, from 0 to 1; NaN of none."""
    return sum(iou >= threshold for iou in ious) / len(ious) if ious else float("nan")


def recalls(images, limit, overlaps=one_to_one_overlaps):
    """Recall in percent by threshold in percent, and "AR", "ARs", "ARm", "ARl"."""
    found = {percent: 100.0 * share(covered(images, limit, overlaps), percent / 100) for percent in PERCENTS}
    for size in AREAS:
        ious = covered(images, limit, overlaps, size)
        found[f"AR{size}"] = sum(100.0 * share(ious, percent / 100) for percent in PERCENTS) / len(PERCENTS)
    return found
