"""Finding what is malformed in a COCO json before detectron2's reader and COCO's evaluation trip over it.

Reading itself is detectron2's ``load_coco_json``; it stops with a bare exception at the first unknown category or
empty box, so what it gets here is the file as it is, or a copy without what is malformed and with what is not said.
"""

import json
import os
import reprlib
import tempfile
from collections import Counter, defaultdict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from detectron2.data.datasets import load_coco_json

from .coco_entries import annotation_faults, category_faults, complete_annotation, image_faults, image_size_of, is_id
from .images import MISSING_IMAGE, absence
from .inside import leads_outside
from .problems import BOX, DATA_SET, IMAGE, Problem

__all__ = ["CleanedJson", "add_areas", "clean_coco_json", "load_cleaned_coco_json"]


class CleanedJson(NamedTuple):
    """A COCO json that can be trained on and evaluated against.

    Attributes:
        contents: of the file without malformed images and annotations; with a problem of the whole data set its lists
            are empty.
        problems: what was malformed.
        completed: whether annotations differ from the file's because detectron2 or COCO's evaluation cannot use them
            as they stand there.
    """

    contents: Dict[str, Any]
    problems: List[Problem]
    completed: bool


def clean_coco_json(json_file: str, image_root: str, *, keep_missing_images: bool = False) -> CleanedJson:
    """Read a COCO json, take out everything malformed, and fill in what it need not say.

    ``iscrowd`` is 0 and ``area`` that of the box where they are missing. Annotations are numbered anew where their ids
    are not numbers from 1 on: COCO's evaluation takes an object with the id 0 for none at all.

    Args:
        json_file: in COCO's format for instances; boxes are x, y, width, height in continuous pixels.
        image_root: the folder its file names are relative to. Pixels are not read.
        keep_missing_images: an image is not malformed because there is no such file.
    """
    contents, problems = _read(json_file)
    if problems:
        return CleanedJson({"images": [], "annotations": [], "categories": []}, problems, False)
    images, sizes, problems = _clean_images(contents["images"], json_file, image_root, keep_missing_images)
    sound, box_problems = _clean_annotations(contents, images, sizes, json_file)
    annotations = [complete_annotation(annotation) for annotation in sound]
    completed = any(new is not old for new, old in zip(annotations, sound))
    if not all(isinstance(annotation["id"], int) and annotation["id"] > 0 for annotation in annotations):
        annotations = [{**annotation, "id": number} for number, annotation in enumerate(annotations, start=1)]
        completed = True
    cleaned = {**contents, "images": list(images.values()), "annotations": annotations}
    return CleanedJson(cleaned, problems + box_problems, completed)


def _read(json_file: str) -> Tuple[Dict[str, Any], List[Problem]]:
    """Return the file's contents, and what makes the whole of it useless."""
    if not os.path.isfile(json_file):
        return {}, [Problem("missing annotation file", json_file, "", DATA_SET)]
    try:
        with open(json_file, encoding="utf-8-sig") as f:
            contents = json.load(f)
    except (ValueError, RecursionError) as error:  # not UTF-8, not json, numbers of thousands of digits
        return {}, [Problem("json that does not parse", json_file, str(error), DATA_SET)]
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(contents, dict) or key not in contents]
    if missing:
        return {}, [Problem("not a COCO json of boxes", json_file, f"it has no {', '.join(missing)}", DATA_SET)]
    details = [f"{key} is {reprlib.repr(contents[key])}, not a list" for key in keys if type(contents[key]) is not list]
    if details:
        return {}, [Problem("not a COCO json of boxes", json_file, detail, DATA_SET) for detail in details]
    if not contents["images"]:
        return {}, [Problem("empty split", json_file, "it names no image", DATA_SET)]
    faults = category_faults(contents["categories"])
    return contents, [Problem(kind, json_file, detail, DATA_SET) for kind, detail in faults]


def _clean_images(
    entries: List[Any], json_file: str, image_root: str, keep_missing: bool
) -> Tuple[Dict[Any, Dict[str, Any]], Dict[Any, Tuple[float, float]], List[Problem]]:
    """Return image id -> its entry, of images that can be used; image id -> size, of all that say it; and problems."""
    images: Dict[Any, Dict[str, Any]] = {}
    sizes: Dict[Any, Tuple[float, float]] = {}
    problems = []
    seen: Dict[Any, None] = {}  # in order
    for number, entry in enumerate(entries, start=1):
        image_id = _id_of(entry, "id")
        where = f"image entry {number}" if image_id is None else f"image {image_id}"
        faults = image_faults(entry)
        if image_id in seen:
            faults.append(("duplicate image id", f"it is given to {reprlib.repr(entry.get('file_name'))} too"))
        elif image_id is not None:
            first = next(iter(seen), image_id)
            if isinstance(image_id, str) != isinstance(first, str):  # detectron2 sorts them, which such ids cannot be
                faults.append(("unusable id", f"it is {image_id!r}, but the first image's is {first!r}"))
            seen[image_id] = None
            if image_size_of(entry) is not None:
                sizes[image_id] = image_size_of(entry)
        if not faults and leads_outside(entry["file_name"], image_root):
            detail = (
                f"file_name {reprlib.repr(entry['file_name'])} leads outside {image_root or '.'}; set the folder "
                "of the images (DATASETS.COCO_JSON.TRAIN_IMAGES or TEST_IMAGES) to one that holds them all"
            )
            faults.append(("name that leads outside the data set", detail))
        problems += [Problem(kind, json_file, f"{where}: {detail}", IMAGE, image_id) for kind, detail in faults]
        path = os.path.join(image_root, entry["file_name"]) if not faults else ""
        missing = absence(path) if path and not keep_missing else None
        if missing is not None:
            detail = f"image {image_id} of {json_file}" + (f"; {missing}" if missing else "")
            problems.append(Problem(MISSING_IMAGE, path, detail, IMAGE, image_id))
        elif path:
            images[image_id] = entry
    return images, sizes, problems


def _id_of(entry: Any, key: str) -> Optional[Any]:
    """The id under `key`; None if there is none that can be one."""
    return entry[key] if isinstance(entry, dict) and is_id(entry.get(key)) else None


def _clean_annotations(
    contents: Dict[str, Any],
    images: Dict[Any, Dict[str, Any]],
    sizes: Dict[Any, Tuple[float, float]],
    json_file: str,
) -> Tuple[List[Dict[str, Any]], List[Problem]]:
    listed = {_id_of(entry, "id") for entry in contents["images"]}
    categories = {category["id"] for category in contents["categories"]}
    times = Counter(_id_of(entry, "id") for entry in contents["annotations"])
    del times[None]  # of entries that have no usable id
    annotations, problems = [], []
    for number, entry in enumerate(contents["annotations"], start=1):
        image_id, own_id = _id_of(entry, "image_id"), _id_of(entry, "id")
        faults = annotation_faults(entry, listed, sizes, categories, times)
        where = f"annotation entry {number}" if own_id is None else f"annotation {own_id}"
        where += "" if image_id is None else f" of image {image_id}"
        problems += [Problem(kind, json_file, f"{where}: {detail}", BOX, image_id) for kind, detail in faults]
        if not faults and image_id in images:  # of the other images it has been reported what is wrong
            annotations.append(entry)
    return annotations, problems


def load_cleaned_coco_json(cleaned: Dict[str, Any], image_root: str, name: str) -> List[Dict[str, Any]]:
    """Read cleaned contents with detectron2's own reader, which takes files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cleaned.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(cleaned, f)
        return load_coco_json(path, image_root, name)


def add_areas(dicts: List[Dict[str, Any]], cleaned: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Put the json's "area" into the annotations of `dicts`, in place; detectron2's reader leaves it out.

    It is that of an object's mask, in pixels, and decides whether COCO calls the object small, medium or large.

    Args:
        dicts: what detectron2 read.
        cleaned: contents of the json. Annotations are known by image and box, for the reader keeps no ids.
    """
    areas: Dict[Tuple[Any, ...], List[float]] = defaultdict(list)
    for entry in cleaned["annotations"]:
        areas[(entry["image_id"], *entry["bbox"])].append(entry["area"])
    for record in dicts:
        for annotation in record.get("annotations", ()):
            of_box = areas.get((record["image_id"], *annotation["bbox"]))
            if of_box and "area" not in annotation:
                annotation["area"] = of_box.pop(0)
    return dicts
