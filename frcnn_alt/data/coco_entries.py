"""The entries of a COCO json one by one: all that is wrong with a category, an image or an annotation.

A json that some tool wrote may hold anything anywhere, so nothing here takes the type of a value for granted.
"""

import math
import reprlib
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from .problems import box_problem

__all__ = ["annotation_faults", "category_faults", "complete_annotation", "image_faults", "image_size_of", "is_id"]

Fault = Tuple[str, str]  # kind of problem, detail


def is_id(value: Any) -> bool:
    """Whether `value` can be an id: a whole number or a text. True is none, though Python takes it for 1."""
    return isinstance(value, (int, str)) and not isinstance(value, bool) or isinstance(value, float) and value % 1 == 0


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _lacking(entry: Any, keys: Iterable[str]) -> Optional[str]:
    """Say what `entry` has not, null included; None if it has all of `keys`."""
    if not isinstance(entry, dict):
        return f"it is {reprlib.repr(entry)}, not an object of keys and values"
    missing = [key for key in keys if entry.get(key) is None]
    return f"it has no {', '.join(missing)}" if missing else None


def _given(entry: Any, keys: Iterable[str], kind: str) -> Tuple[Dict[str, Any], List[Fault]]:
    """Return what `entry` has of `keys`, and as faults what it has not (of this `kind`) and an id that is none."""
    lacking = _lacking(entry, keys)
    faults = [] if lacking is None else [(kind, lacking)]
    given = {key: entry[key] for key in keys if entry.get(key) is not None} if isinstance(entry, dict) else {}
    if "id" in given and not is_id(given["id"]):
        faults.append(("unusable id", f"id is {reprlib.repr(given['id'])}"))
    return given, faults


def category_faults(entries: List[Any]) -> Iterator[Fault]:
    """Yield what is wrong with the categories of a json; without sound ones no annotation can be understood."""
    if not entries:
        yield "not a COCO json of boxes", "its categories are empty"
    seen = set()
    for number, entry in enumerate(entries, start=1):
        where = f"category entry {number}"
        lacking = _lacking(entry, ("id", "name"))
        if lacking is not None:
            yield "incomplete category entry", f"{where}: {lacking}"
            continue
        if not isinstance(entry["name"], str):
            yield "name that is not text", f"{where}: name is {reprlib.repr(entry['name'])}"
        if not is_id(entry["id"]):
            yield "unusable id", f"{where}: id is {reprlib.repr(entry['id'])}"
        elif entry["id"] in seen:
            yield "duplicate category id", f"{where}: id {entry['id']!r} is given to {reprlib.repr(entry['name'])} too"
        else:
            seen.add(entry["id"])
    if len({isinstance(category_id, str) for category_id in seen}) > 1:  # their order is the order of the classes
        yield "unusable id", f"category ids are numbers and texts: {reprlib.repr(list(seen))}"


def image_size_of(entry: Mapping[str, Any]) -> Optional[Tuple[float, float]]:
    """Return (width, height) in pixels as an image entry says, None if that is no size."""
    size = entry.get("width"), entry.get("height")
    return size if all(_is_number(side) and side > 0 for side in size) else None


def image_faults(entry: Any) -> List[Fault]:
    """Return what is wrong with one entry of images, but for what only the others or the image file tell."""
    given, faults = _given(entry, ("id", "file_name", "width", "height"), "incomplete image entry")
    if "file_name" in given and not isinstance(given["file_name"], str):
        faults.append(("name that is not text", f"file_name is {reprlib.repr(given['file_name'])}"))
    for side in ("width", "height"):
        if side in given and not (_is_number(given[side]) and given[side] > 0):
            faults.append(("size that is not a number of pixels", f"{side} is {reprlib.repr(given[side])}"))
    return faults


def annotation_faults(
    entry: Any,
    images: Collection[Any],
    sizes: Mapping[Any, Tuple[float, float]],
    categories: Collection[Any],
    times: Mapping[Any, int],
) -> List[Fault]:
    """Return what is wrong with one annotation.

    Args:
        entry: of the annotations.
        images: ids of all images that the json lists, malformed or not.
        sizes: image id -> (width, height) in pixels, as far as the json tells.
        categories: ids of the categories.
        times: annotation id -> how often it is given.
    """
    given, faults = _given(entry, ("id", "image_id", "category_id", "bbox"), "incomplete annotation")
    if not isinstance(entry, dict):
        return faults
    if is_id(given.get("id")) and times.get(given["id"], 0) > 1:
        faults.append(("duplicate annotation id", f"{times[given['id']]} annotations have it"))
    image_id = given.get("image_id")
    if image_id is not None and not (is_id(image_id) and image_id in images):
        faults.append(("annotation without image", "no image has this id"))
    category = given.get("category_id")
    if category is not None and not (is_id(category) and category in categories):
        faults.append(("unknown class", f"category_id {reprlib.repr(category)} is not among the categories"))
    if "bbox" in given:
        faults += _box_faults(given["bbox"], sizes.get(image_id) if is_id(image_id) else None)
    return [*faults, *_faults_beside_the_box(entry)]


def _box_faults(box: Any, size: Optional[Tuple[float, float]]) -> Iterator[Fault]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        yield "corner that is not a number", f"bbox is {reprlib.repr(box)}"
        return
    x, y, width, height = map(float, box)
    found = box_problem([x, y, x + width, y + height], *(size or (math.inf, math.inf)))
    if found is not None and (size is not None or found[0] != "box outside the image"):
        yield found


def _faults_beside_the_box(entry: Mapping[str, Any]) -> Iterator[Fault]:
    crowd, area, ignore = (entry.get(key) for key in ("iscrowd", "area", "ignore"))
    if crowd is not None and not (isinstance(crowd, (int, float)) and crowd in (0, 1)):
        yield "flag that is not a number", f"iscrowd is {reprlib.repr(crowd)}; it is 0 or 1"
    if area is not None and not (_is_number(area) and area >= 0):
        yield "area that is not a number", f"area is {reprlib.repr(area)}"
    if ignore is not None and ignore != 0:
        detail = (
            f"ignore is {reprlib.repr(ignore)}, which detectron2 refuses; iscrowd 1 leaves an object out of training"
        )
        yield "flag that is not supported", detail


def complete_annotation(entry: Dict[str, Any]) -> Dict[str, Any]:
    """Return an annotation without faults with all that detectron2's reader and evaluation ask for; itself if it has.

    ``iscrowd`` is 0 and ``area`` that of the box where the json has none. Polygons, masks and keypoints that the reader
    cannot read are dropped: it would stop there, or leave the object out, and boxes need none of them.
    """
    complete = dict(entry)
    if complete.get("iscrowd") is None:
        complete["iscrowd"] = 0
    if complete.get("area") is None:
        complete["area"] = entry["bbox"][2] * entry["bbox"][3]
    if complete.get("ignore", 0) is None:
        del complete["ignore"]
    for key, can_be_read in (("segmentation", _is_segmentation), ("keypoints", _is_keypoints)):
        if complete.get(key) and not can_be_read(complete[key]):
            del complete[key]
    return entry if complete == entry else complete


def _is_segmentation(value: Any) -> bool:
    """Whether it is a list of polygons, of which at least one has three corners, or a mask in run lengths."""
    if isinstance(value, list):
        lists = all(isinstance(polygon, list) for polygon in value)
        return lists and any(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in value)
    if not isinstance(value, dict):
        return False
    counts, size = value.get("counts"), value.get("size")
    if not isinstance(counts, list):
        return isinstance(counts, str)
    return isinstance(size, list) and len(size) == 2 and all(isinstance(number, int) for number in [*counts, *size])


def _is_keypoints(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))
