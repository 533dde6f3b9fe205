"""Pictures of test images with ground truth and detections: those where the network did best, and worst.

What "best" means is defined in ``detections.py``: an F-measure at IoU 0.5 of the detections with score 0.6 or more, the
threshold of the paper's own figures (Figure 5).
"""

import heapq
import os
from dataclasses import dataclass, replace
from typing import Dict, List, Tuple

from detectron2.data.detection_utils import read_image
from PIL import Image

from ..safe_write import make_folder, replacing
from .detections import ImageDetections, ImageQuality, image_quality, read_detections
from .drawing import LabelledBox, class_color, draw_boxes, side_by_side

__all__ = ["SCORE_THRESHOLD", "Picture", "choose_images", "draw_picture", "save_pictures"]

SCORE_THRESHOLD = 0.6
_LONG_SIDE = 720
_TITLES = ("ground truth", f"detections (score at least {SCORE_THRESHOLD:g})")


@dataclass(frozen=True)
class Picture:
    """One image of the report.

    Attributes:
        image_id: of the test image.
        caption: how many objects were found, and the F-measure.
        truth: the image with its ground truth; difficult objects are dashed, missed ones say so.
        detected: the image with its detections; wrong ones say so.
        file_name: where `save_pictures` put both beside each other.
    """

    image_id: str
    caption: str
    truth: Image.Image
    detected: Image.Image
    file_name: str = ""


def choose_images(path: str, count: int) -> Tuple[List[str], List[str]]:
    """Choose the image ids with the best and with the worst detections, at most `count` each, best and worst first.

    Images without objects, or of which nothing was found, are never among the best. Among equals, more objects and then
    tighter boxes are better, and more errors are worse. No image is among both; images without any error are never
    among the worst. Of the images with errors only those of the better half are among the best, so that a small test
    set shows its worst too.

    Args:
        path: a detections.jsonl.
        count: images of each kind.
    """
    ranked = [(image.image_id, image_quality(image, SCORE_THRESHOLD)) for image in read_detections(path)[1]]
    with_objects = [(image_id, quality) for image_id, quality in ranked if quality.num_objects]
    half = (len(with_objects) + 1) // 2
    best = heapq.nsmallest(
        count, with_objects, key=lambda item: (-item[1].f_measure, -item[1].num_objects, -item[1].mean_iou, item[0])
    )
    best_ids = [
        image_id
        for place, (image_id, quality) in enumerate(best)
        if quality.f_measure > 0 and (place < half or not _errors(quality))
    ]
    with_errors = [(image_id, quality) for image_id, quality in ranked if _errors(quality) and image_id not in best_ids]
    worst = heapq.nsmallest(count, with_errors, key=lambda item: (item[1].f_measure, -_errors(item[1]), item[0]))
    return best_ids, [image_id for image_id, _ in worst]


def _errors(quality: ImageQuality) -> int:
    return quality.num_missed + quality.num_wrong


def draw_picture(image: ImageDetections, classes: List[str]) -> Picture:
    """Draw one test image twice: with its ground truth, and with its detections.

    Raises:
        OSError: the image file is missing or unreadable.
    """
    quality = image_quality(image, SCORE_THRESHOLD)
    # detectron2's reader turns photographs as their EXIF data says; the boxes are in that frame.
    photograph = Image.fromarray(read_image(image.file_name, format="RGB"))
    return Picture(
        image_id=image.image_id,
        caption=_caption(quality),
        truth=draw_boxes(photograph, _truth(image, quality, classes), _LONG_SIDE),
        detected=draw_boxes(photograph, _detected(image, quality, classes), _LONG_SIDE),
    )


def save_pictures(path: str, output_dir: str, count: int = 6) -> Tuple[List[Picture], List[Picture], List[str]]:
    """Draw the best and worst images and save them, ground truth beside detections.

    Args:
        path: a detections.jsonl.
        output_dir: folder for ``best_1_<image id>.jpg`` and so on; made if needed.
        count: images of each kind.

    Returns:
        The best, the worst, and for each image that could not be read one sentence that names it.
    """
    make_folder(output_dir)
    groups = dict(zip(("best", "worst"), choose_images(path, count)))
    wanted = {image_id for ids in groups.values() for image_id in ids}
    classes, images = read_detections(path)
    pictures, problems = {}, []
    for image in images:
        if image.image_id in wanted:
            try:
                pictures[image.image_id] = draw_picture(image, classes)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's
                problems.append(f"{image.file_name} cannot be shown: {error}")
    saved: Dict[str, List[Picture]] = {group: [] for group in groups}
    for group, ids in groups.items():
        for picture in (pictures[image_id] for image_id in ids if image_id in pictures):
            name = "".join(c if c.isalnum() or c in "-_." else "_" for c in picture.image_id)[:80]
            file_name = f"{group}_{len(saved[group]) + 1}_{name}.jpg"
            both = side_by_side([picture.truth, picture.detected], _TITLES)
            with replacing(os.path.join(output_dir, file_name)) as file:
                both.save(file, format="JPEG", quality=90)
            saved[group].append(replace(picture, file_name=file_name))
    return saved["best"], saved["worst"], problems


def _caption(quality: ImageQuality) -> str:
    found = quality.num_objects - quality.num_missed
    objects = f"{found} of {quality.num_objects} object{'s' if quality.num_objects != 1 else ''} found"
    return f"{objects}, {quality.num_wrong or 'none'} wrong, F = {quality.f_measure:.2f}"


def _truth(image: ImageDetections, quality: ImageQuality, classes: List[str]) -> List[LabelledBox]:
    boxes = []
    for box, label, difficult, found in zip(image.gt_boxes, image.gt_labels, image.gt_difficult, quality.found):
        remark = " (difficult)" if difficult else "" if found else " (missed)"
        boxes.append(LabelledBox(box, classes[label] + remark, class_color(label), dashed=bool(difficult)))
    return boxes


def _detected(image: ImageDetections, quality: ImageQuality, classes: List[str]) -> List[LabelledBox]:
    shown = image.scores >= SCORE_THRESHOLD
    boxes = []
    for box, score, label, correct, ignored in zip(
        image.boxes[shown], image.scores[shown], image.labels[shown], quality.correct, quality.ignored
    ):
        remark = "" if correct or ignored else " (wrong)"
        boxes.append(LabelledBox(box, f"{classes[label]} {score:.2f}{remark}", class_color(label)))
    return boxes
