"""PASCAL VOC's average precision of one class, written from the rule (SPEC 2, last line of the VOC rules).

Boxes are VOC's own: (xmin, ymin, xmax, ymax) in whole or broken pixels counted from 1, both corners inside the box, so
that a width is xmax - xmin + 1.

Detections of all images are gone through by falling score, equal scores in the order in which they are given. Each is
compared with the object of its image that it overlaps most, difficult ones included (the first of equals). If that
IoU is above the threshold, the detection is true when the object was not taken yet, and takes it; it is false when a
better scored one took it; it counts as neither when the object is difficult. At or below the threshold it is false.
Recall counts the objects that are not difficult.

2007: the mean over the recalls 0, 0.1 ... 1 of the best precision at that recall or a higher one. Both programs compare
in double precision with multiples of 0.1: three objects of ten (0.3) do not reach the point 3 * 0.1, which is 4e-17
more, and six of ten and seven of ten do not reach theirs either. Later years: the area under the same envelope.
"""

from .overlap import overlap_of_pixels

ELEVEN_RECALLS = [k * 0.1 for k in range(11)]


def judge(detections, objects, threshold):
    """What each detection is by falling score: "true", "false" or "neither".

    Args:
        detections: (image, score, box) of one class.
        objects: image -> [(box, difficult)] of that class.
        threshold: IoU above which a detection finds an object.
    """
    verdicts = []
    taken = set()
    for image, _, box in sorted(detections, key=lambda detection: -detection[1]):  # sorted() is stable
        best, best_iou = None, 0.0
        for number, (object_box, _) in enumerate(objects[image]):
            iou = overlap_of_pixels(box, object_box)
            if iou > best_iou:
                best, best_iou = number, iou
        if best is None or not best_iou > threshold:
            verdicts.append("false")
        elif objects[image][best][1]:
            verdicts.append("neither")
        elif (image, best) in taken:
            verdicts.append("false")
        else:
            taken.add((image, best))
            verdicts.append("true")
    return verdicts


def average_precision(detections, objects, threshold, year):
    """AP between 0 and 1, None for a class that has no object to find; arguments as of `judge`, year 2007 or later."""
    positives = sum(not difficult for image in objects.values() for _, difficult in image)
    if positives == 0:
        return None
    points = []  # (recall, precision) after each detection that counts
    true = false = 0
    for verdict in judge(detections, objects, threshold):
        true += verdict == "true"
        false += verdict == "false"
        if verdict != "neither":
            points.append((true / positives, true / (true + false)))

    def best_precision(least_recall):
        return max((precision for recall, precision in points if recall >= least_recall), default=0.0)

    if year == 2007:
        return sum(best_precision(recall) for recall in ELEVEN_RECALLS) / 11
    reached = sorted({recall for recall, _ in points if recall > 0})
    return sum((b - a) * best_precision(b) for a, b in zip([0.0, *reached], reached))
