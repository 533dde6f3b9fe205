"""Reading a VOC-layout folder: JPEGImages, Annotations, ImageSets/Main, any classes.

It differs from detectron2's reader where the paper's programs do (SPEC 2): objects marked difficult carry
``iscrowd = 1``, which keeps detectron2's own mapper and filters from training on them, and ``difficult = 1``, which the
evaluation reads. It also takes what people's own folders hold: .jpeg and .png images, float corners, no ``difficult``.

Coordinates: the files hold 1-based inclusive corners; dictionaries hold continuous ones, (xmin-1, ymin-1, xmax, ymax).
"""

import os
import xml.etree.ElementTree as ET
from typing import Any, Dict, List, Optional, Sequence, Tuple

from detectron2.structures import BoxMode

from .class_names import read_class_file
from .images import MISSING_IMAGE, absence, image_facts, image_size
from .inside import leads_outside
from .problems import BOX, DATA_SET, IMAGE, DatasetError, Problem, box_problem
from .safe_xml import read_xml

__all__ = ["find_voc_layout_classes", "list_voc_layout_splits", "read_voc_layout"]

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


def read_voc_layout(
    dirname: str, split: str, class_names: Sequence[str], *, keep_missing_images: bool = False
) -> Tuple[List[Dict[str, Any]], List[Problem]]:
    """Read one split into detectron2 data set dictionaries.

    Args:
        dirname: the folder that holds Annotations, ImageSets and JPEGImages.
        split: the name of a file in ImageSets/Main, without .txt.
        class_names: their order gives ``category_id``.
        keep_missing_images: an image is not malformed because its file is missing, if its annotation tells its size.

    Returns:
        The dictionaries without anything malformed, and the problems that were met. Image pixels are not read.
        Annotations have ``difficult`` and ``iscrowd`` (both 0 or 1, equal), boxes XYXY_ABS in continuous pixels.
    """
    split_file = os.path.join(dirname, "ImageSets", "Main", split + ".txt")
    if not os.path.isfile(split_file):
        splits = ", ".join(list_voc_layout_splits(dirname)) or "none"
        return [], [Problem("missing split file", split_file, f"splits that exist: {splits}", DATA_SET)]
    try:
        image_ids = _read_split(split_file)
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem("split that is no text", split_file, str(error), DATA_SET)]
    if not image_ids:
        return [], [Problem("empty split", split_file, "it names no image", DATA_SET)]

    dicts: List[Dict[str, Any]] = []
    problems: List[Problem] = []
    category_ids = {name: index for index, name in enumerate(class_names)}
    seen = set()
    for image_id in image_ids:
        if image_id in seen:
            problems.append(Problem("duplicate image id", split_file, f"{image_id!r} is listed again"))
            continue
        seen.add(image_id)
        if any(leads_outside(image_id, os.path.join(dirname, folder)) for folder in ("Annotations", "JPEGImages")):
            detail = f"it names {image_id!r}, which leads outside Annotations and JPEGImages"
            problems.append(Problem("name that leads outside the data set", split_file, detail, IMAGE, image_id))
            continue
        record, image_problems = _read_image(dirname, image_id, category_ids, keep_missing_images)
        problems += image_problems
        if record is not None:
            dicts.append(record)
    return dicts, problems


def _read_split(path: str) -> List[str]:
    with open(path, encoding="utf-8-sig") as f:
        return [line.strip() for line in f if line.strip()]


def _read_image(
    dirname: str, image_id: str, category_ids: Dict[str, int], keep_missing: bool
) -> Tuple[Optional[Dict[str, Any]], List[Problem]]:
    """Return the dictionary of one image, None if it has to be left out, and all that is wrong with it."""
    problems: List[Problem] = []
    annotation_file = os.path.join(dirname, "Annotations", image_id + ".xml")
    stem = os.path.join(dirname, "JPEGImages", image_id)
    image_file = next((stem + end for end in _EXTENSIONS if os.path.isfile(stem + end)), None)
    if image_file is None:
        detail = absence(stem + ".jpg") or "no such file, nor with .jpeg or .png"
        problems.append(Problem(MISSING_IMAGE, stem + ".jpg", detail, IMAGE, image_id))
    try:
        root = read_xml(annotation_file)
    except FileNotFoundError:
        return None, [*problems, Problem("missing annotation file", annotation_file, "", IMAGE, image_id)]
    except (ValueError, OSError) as error:
        return None, [*problems, Problem("XML that does not parse", annotation_file, str(error), IMAGE, image_id)]

    size = _declared_size(root)
    if size is None and image_file is not None:
        size = image_size(image_file)  # None when unreadable, which the check of image files reports
    elif size is not None and min(size) <= 0:
        detail = f"declares {size[0]}x{size[1]}"
        problems.append(Problem("size that disagrees with the image", annotation_file, detail, IMAGE, image_id))
        size = None
    elif image_file is None and size is not None and keep_missing:
        image_file = problems.pop().file
    if size is None and image_file is not None and not problems:
        facts = image_facts(image_file)
        detail = f"its size is neither declared in the annotation nor readable from the file: {facts.problem}"
        problems.append(Problem(facts.kind, image_file, detail, IMAGE, image_id))

    annotations = []
    for number, element in enumerate(root.findall("object"), start=1):
        annotation, kind, detail = _read_object(element, category_ids, size)
        if annotation is not None:
            annotations.append(annotation)
        else:
            problems.append(Problem(kind, annotation_file, f"object {number}: {detail}", BOX, image_id))
    if any(problem.scope == IMAGE for problem in problems):
        return None, problems
    record = {
        "file_name": image_file,
        "image_id": image_id,
        "height": size[1],
        "width": size[0],
        "annotations": annotations,
    }
    return record, problems


def _declared_size(root: ET.Element) -> Optional[Tuple[int, int]]:
    """Return (width, height) as the annotation says, (0, 0) if it says nonsense, None if it does not say."""
    if root.find("size") is None:
        return None
    try:
        return int(float(root.findtext("size/width", ""))), int(float(root.findtext("size/height", "")))
    except (ValueError, OverflowError):  # the latter: infinity
        return 0, 0


def _read_object(
    element: ET.Element, category_ids: Dict[str, int], size: Optional[Tuple[int, int]]
) -> Tuple[Optional[Dict[str, Any]], str, str]:
    """Return (annotation, "", "") or (None, kind of problem, detail)."""
    name = element.findtext("name", "").strip()
    corners = {}
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{tag}", "").strip()
        try:
            corners[tag] = float(text)
        except ValueError:
            return None, "corner that is not a number", f"{name or 'no name'}: {tag} is {text!r}"
    written = ", ".join(f"{tag} {value:g}" for tag, value in corners.items())
    if name not in category_ids:
        known = ", ".join(list(category_ids)[:30])
        return None, "unknown class", f"{name!r} is none of {known}"
    # A box from a pixel to itself is one pixel wide by the letter of VOC; in practice it is a slip of the mouse.
    if corners["xmax"] <= corners["xmin"] or corners["ymax"] <= corners["ymin"]:
        return None, "zero-size box", f"{name}: {written}"
    # VOC counts pixels from 1: a 0 says that a tool counted from 0, and all its boxes are one pixel off.
    if corners["xmin"] == 0 or corners["ymin"] == 0:
        detail = f"{name}: {written}; VOC corners start at 1: if all of the data count from 0, add 1 to every corner"
        return None, "0-based corner", detail
    box = [corners["xmin"] - 1, corners["ymin"] - 1, corners["xmax"], corners["ymax"]]
    found = box_problem(box, *size) if size is not None else None
    if found is not None:
        image = f"; the image is {size[0]}x{size[1]}" if size is not None else ""
        return None, found[0], f"{name}: {written}{image}"
    try:
        difficult = int(bool(int(element.findtext("difficult", "0") or 0)))
    except ValueError:
        return None, "flag that is not a number", f"{name}: difficult is {element.findtext('difficult')!r}"
    annotation = {
        "category_id": category_ids[name],
        "bbox": box,
        "bbox_mode": BoxMode.XYXY_ABS,
        "difficult": difficult,
        "iscrowd": difficult,
    }
    return annotation, "", ""


def list_voc_layout_splits(dirname: str) -> List[str]:
    """Return the names of the splits of a VOC-layout folder, sorted; empty if it is not one."""
    folder = os.path.join(dirname, "ImageSets", "Main")
    if not os.path.isdir(folder):
        return []
    return sorted(name[: -len(".txt")] for name in os.listdir(folder) if name.endswith(".txt"))


def find_voc_layout_classes(dirname: str, splits: Sequence[str]) -> List[str]:
    """Return the class names of a VOC-layout folder: the lines of CLASSES.txt, else the names found, sorted.

    Args:
        dirname: the VOC-layout folder.
        splits: whose annotations are searched when there is no CLASSES.txt; what cannot be read there is passed
            over, for reading the data set reports it.

    Raises:
        DatasetError: there are none, or CLASSES.txt names one twice.
    """
    classes_file = os.path.join(dirname, "CLASSES.txt")
    if os.path.isfile(classes_file):
        return read_class_file(classes_file)
    found = set()
    for split in splits:
        split_file = os.path.join(dirname, "ImageSets", "Main", split + ".txt")
        try:
            image_ids = _read_split(split_file)
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{split_file} cannot be read as a list of images: {error}.") from error
        for image_id in image_ids:
            if leads_outside(image_id, os.path.join(dirname, "Annotations")):
                continue
            try:
                root = read_xml(os.path.join(dirname, "Annotations", image_id + ".xml"))
            except (ValueError, OSError):
                continue
            found.update(element.findtext("name", "").strip() for element in root.findall("object"))
    found.discard("")
    if not found:
        raise DatasetError(
            f"No object has a name in the annotations of {dirname} (splits {', '.join(splits)}): "
            "write the class names into CLASSES.txt or set DATASETS.VOC_LAYOUT.CLASSES."
        )
    return sorted(found)
