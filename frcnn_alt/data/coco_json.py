"""Finding what is malformed in a COCO json before detectron2's reader trips over it.

Reading itself is detectron2's ``load_coco_json``; it stops with a bare exception at the first unknown category or
empty box, so what it gets here is the file as it is, or a copy without what is malformed.
"""

import json
import os
import tempfile
from collections import Counter
from typing import Any, Dict, List, Optional, Tuple

from detectron2.data.datasets import load_coco_json

from .problems import BOX, DATA_SET, IMAGE, Problem, box_problem

__all__ = ["clean_coco_json", "load_cleaned_coco_json"]


def clean_coco_json(json_file: str, image_root: str) -> Tuple[Dict[str, Any], List[Problem]]:
    """Read a COCO json and take out everything malformed.

    Args:
        json_file: in COCO's format for instances; boxes are x, y, width, height in continuous pixels.
        image_root: the folder its file names are relative to. Pixels are not read.

    Returns:
        The contents of the file without malformed images and annotations, and the problems met. With a problem of
        the whole data set the contents are empty lists.
    """
    empty: Dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    if not os.path.isfile(json_file):
        return empty, [Problem("missing annotation file", json_file, "", DATA_SET)]
    try:
        with open(json_file, encoding="utf-8-sig") as f:
            contents = json.load(f)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        return empty, [Problem("json that does not parse", json_file, str(error), DATA_SET)]
    missing = [
        key for key in ("images", "annotations", "categories") if not isinstance(contents, dict) or key not in contents
    ]
    if missing:
        return empty, [Problem("not a COCO json of boxes", json_file, f"it has no {', '.join(missing)}", DATA_SET)]
    if not contents["images"]:
        return empty, [Problem("empty split", json_file, "it names no image", DATA_SET)]

    images, problems = _clean_images(contents["images"], json_file, image_root)
    annotations, box_problems = _clean_annotations(contents, images, json_file)
    cleaned = {**contents, "images": list(images.values()), "annotations": annotations}
    return cleaned, problems + box_problems


def _clean_images(
    records: List[Dict[str, Any]], json_file: str, image_root: str
) -> Tuple[Dict[Any, Dict[str, Any]], List[Problem]]:
    images: Dict[Any, Dict[str, Any]] = {}
    problems = []
    for record in records:
        missing = [key for key in ("id", "file_name", "width", "height") if key not in record]
        if missing:
            detail = f"image {record.get('id', record)} has no {', '.join(missing)}"
            problems.append(Problem("incomplete image entry", json_file, detail, IMAGE, record.get("id")))
            continue
        if record["id"] in images:
            detail = f"image id {record['id']} is given to {record['file_name']} too"
            problems.append(Problem("duplicate image id", json_file, detail))
            continue
        path = os.path.join(image_root, record["file_name"])
        if not os.path.isfile(path):
            problems.append(Problem("missing image", path, f"image {record['id']} of {json_file}", IMAGE, record["id"]))
            continue
        images[record["id"]] = record
    return images, problems


def _clean_annotations(
    contents: Dict[str, Any], images: Dict[Any, Dict[str, Any]], json_file: str
) -> Tuple[List[Dict[str, Any]], List[Problem]]:
    listed = {record.get("id") for record in contents["images"]}
    categories = {category["id"] for category in contents["categories"]}
    times = Counter(annotation.get("id") for annotation in contents["annotations"])
    annotations, problems = [], []
    for annotation in contents["annotations"]:
        found = _annotation_problem(annotation, listed, categories, images, times)
        if found is not None:
            kind, detail = found
            detail = f"annotation {annotation.get('id')} of image {annotation.get('image_id')}: {detail}"
            problems.append(Problem(kind, json_file, detail, BOX, annotation.get("image_id")))
        elif annotation["image_id"] in images:
            annotations.append(annotation)
    return annotations, problems


def _annotation_problem(annotation, listed, categories, images, times) -> Optional[Tuple[str, str]]:
    missing = [key for key in ("id", "image_id", "category_id", "bbox") if key not in annotation]
    if missing:
        return "incomplete annotation", f"it has no {', '.join(missing)}"
    if annotation["image_id"] not in listed:
        return "annotation without image", "no image has this id"
    if annotation["category_id"] not in categories:
        return "unknown class", f"category_id {annotation['category_id']} is not among the categories"
    if times[annotation["id"]] > 1:
        return "duplicate annotation id", f"{times[annotation['id']]} annotations have it"
    box = annotation["bbox"]
    if len(box) != 4 or not all(isinstance(value, (int, float)) for value in box):
        return "corner that is not a number", f"bbox is {box}"
    image = images.get(annotation["image_id"])
    if image is None:
        return None  # the image has been reported
    return box_problem([box[0], box[1], box[0] + box[2], box[1] + box[3]], image["width"], image["height"])


def load_cleaned_coco_json(cleaned: Dict[str, Any], image_root: str, name: str) -> List[Dict[str, Any]]:
    """Read cleaned contents with detectron2's own reader, which takes files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cleaned.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(cleaned, f)
        return load_coco_json(path, image_root, name)
