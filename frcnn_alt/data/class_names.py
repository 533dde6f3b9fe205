"""Names of classes: those of data sets, and lists that a person names on a command line."""

import difflib
import os
from typing import Dict, Iterable, List

from detectron2.data import DatasetCatalog, MetadataCatalog

from .problems import DatasetError

__all__ = ["class_names_of", "read_class_file", "read_class_list"]

# Short names of the lists that everybody means by them, as detectron2 has them.
_WELL_KNOWN = {"coco": "coco_2017_train", "voc": "voc_2007_trainval"}


def class_names_of(data_sets: Iterable[str]) -> Dict[str, List[str]]:
    """Return data set -> its class names in order, for those of the registered `data_sets` that have any."""
    known = {name: MetadataCatalog.get(name).get("thing_classes") for name in data_sets if name in DatasetCatalog}
    return {name: list(classes) for name, classes in known.items() if classes}


def read_class_file(path: str) -> List[str]:
    """Read class names, one a line; lines without any are passed over.

    Raises:
        DatasetError: it cannot be read, has none, or one twice.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            names = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list of class names: {error}.") from error
    if not names:
        raise DatasetError(f"{path} names no class: write one name a line.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path} names twice: {', '.join(twice)}.")
    return names


def read_class_list(value: str) -> List[str]:
    """Return the class names that `value` stands for, in order.

    Args:
        value: "voc", "coco", the name of a registered data set, or a file with one name a line.

    Raises:
        DatasetError: it is none of these, or the file is not such a list.
    """
    if not os.path.isfile(value) or value in _WELL_KNOWN:
        name = _WELL_KNOWN.get(value, value)
        known = class_names_of([name])
        if known:
            return known[name]
        if name in DatasetCatalog:
            raise DatasetError(f"Data set {value!r} is registered without class names: write them into a file.")
        near = difflib.get_close_matches(value, [*_WELL_KNOWN, *DatasetCatalog.list()], n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DatasetError(
            f"{value!r} is no list of classes: neither 'voc' or 'coco', nor a registered data set, nor a file with "
            f"one name a line.{hint}"
        )
    return read_class_file(value)
