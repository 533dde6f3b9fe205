"""From the name of a registered data set to its dictionaries, without what is malformed.

detectron2's catalog stays as it is: for its names of PASCAL VOC this module reads the same folder with this package's
reader, so that difficult objects are left out of training. Training, proposals and evaluation all load here and
therefore agree on what is left out.
"""

import os
from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Sequence, Set, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.transforms import ResizeShortestEdge

from .coco_json import CleanedJson, add_areas, clean_coco_json, load_cleaned_coco_json
from .images import MISSING_IMAGE, UNREADABLE_IMAGE, check_image_files
from .problems import DATA_SET, IMAGE, DatasetError, Problem, describe_problems
from .voc_layout import read_voc_layout

__all__ = ["evaluation_ground_truth", "is_skipped", "load_dataset_dicts", "read_dataset", "set_malformed_policy"]
__all__ += ["too_elongated"]

POLICIES = ("stop", "leave_out")

# By data set name. The catalogs are global, so what goes with their names is, too.
_POLICY: Dict[str, str] = {}
_IMAGES_LEFT_OUT: Dict[str, FrozenSet[Any]] = {}
_SKIPS: Set[str] = set()  # whose missing and unreadable images stay, and are skipped where they are used
_SIZES: Dict[str, List[Tuple[int, int]]] = {}  # what images are resized to: shorter side, longest side allowed


def set_malformed_policy(names: Iterable[str], cfg: CfgNode) -> None:
    """Say what loading these data sets does with malformed images and boxes: "stop" (the default) or "leave_out".

    Args:
        names: of data sets.
        cfg: reads DATASETS.MALFORMED, DATALOADER.UNREADABLE_IMAGES and INPUT's sizes. With UNREADABLE_IMAGES "skip" an
            image whose file is missing or cannot be read stays in the data set, provided that its annotation tells
            its size.

    Raises:
        DatasetError: MALFORMED is another word.
    """
    policy, sizes = cfg.DATASETS.MALFORMED, cfg.INPUT
    if policy not in POLICIES:
        raise DatasetError(f"DATASETS.MALFORMED is {policy!r}; it must be one of {', '.join(POLICIES)}.")
    for name in names:
        _POLICY[name] = policy
        _IMAGES_LEFT_OUT.pop(name, None)
        (_SKIPS.add if cfg.DATALOADER.UNREADABLE_IMAGES == "skip" else _SKIPS.discard)(name)
        _SIZES[name] = [(side, sizes.MAX_SIZE_TRAIN) for side in sizes.MIN_SIZE_TRAIN]
        _SIZES[name].append((sizes.MIN_SIZE_TEST, sizes.MAX_SIZE_TEST))


def too_elongated(dicts: Sequence[Dict[str, Any]], name: str) -> List[Problem]:
    """Find images of the data set `name` of which the longest side allowed leaves not a pixel of the shorter one."""
    sizes = [(shorter, longest) for shorter, longest in _SIZES.get(name, ()) if shorter > 0]
    problems = []
    for record in dicts:
        sides = record.get("height", 1), record.get("width", 1)
        left = [min(ResizeShortestEdge.get_output_shape(*sides, *size)) for size in sizes]
        if min(left, default=1) < 1:
            detail = f"{sides[1]}x{sides[0]} pixels; of its shorter side nothing is left with INPUT.MAX_SIZE_*"
            problems.append(Problem("image too elongated", record["file_name"], detail, IMAGE, record["image_id"]))
    return problems


def is_skipped(name: str, problem: Problem) -> bool:
    """Whether `problem`, of an image file of the data set `name`, is one that images are skipped for in use."""
    return name in _SKIPS and problem.kind in (MISSING_IMAGE, UNREADABLE_IMAGE)


def load_dataset_dicts(name: str) -> List[Dict[str, Any]]:
    """Load a registered data set as detectron2 dictionaries (file_name, image_id, height, width, annotations).

    PASCAL VOC and VOC-layout sets come with ``difficult`` objects flagged ``difficult = 1`` and ``iscrowd = 1``, COCO
    json files with the ``area`` of each object. With the policy "leave_out" malformed images and boxes are not in it.

    Args:
        name: in detectron2's DatasetCatalog, e.g. from ``register_datasets`` or detectron2's own.

    Raises:
        DatasetError: unknown name, files that are not there, or anything malformed (all of it is listed).
    """
    dicts, problems = read_dataset(name)
    if _POLICY.get(name, "stop") == "stop":
        if problems:
            raise DatasetError(f"Data set {name!r} cannot be used: {describe_problems(problems, max_lines=50)}")
        return dicts
    fatal = [problem for problem in problems if problem.scope == DATA_SET]
    if fatal:
        raise DatasetError(f"Data set {name!r} cannot be used: {describe_problems(fatal)}")
    if name not in _IMAGES_LEFT_OUT:
        found = [problem for problem in check_image_files(dicts, name) if not is_skipped(name, problem)]
        found += too_elongated(dicts, name)
        _IMAGES_LEFT_OUT[name] = frozenset(problem.image_id for problem in found)
    return [record for record in dicts if record["image_id"] not in _IMAGES_LEFT_OUT[name]]


def read_dataset(name: str) -> Tuple[List[Dict[str, Any]], List[Problem]]:
    """Read a registered data set as (dictionaries without anything malformed, problems); opens no image.

    Only PASCAL VOC, VOC-layout and COCO sets are searched for problems; others come as their own loader gives them.

    Raises:
        DatasetError: unknown name.
    """
    if name not in DatasetCatalog:
        raise DatasetError(_unknown_name(name))
    metadata = MetadataCatalog.get(name)
    kind = metadata.get("evaluator_type")
    if kind == "pascal_voc":
        if not os.path.isdir(metadata.dirname):
            return [], [Problem("missing folder", metadata.dirname, _where_to_get(name), DATA_SET)]
        return read_voc_layout(
            metadata.dirname, metadata.split, metadata.thing_classes, keep_missing_images=name in _SKIPS
        )
    if kind == "coco":
        if not os.path.isfile(metadata.json_file):
            return [], [Problem("missing annotation file", metadata.json_file, _where_to_get(name), DATA_SET)]
        cleaned, problems, completed = _clean(name)
        if not problems and not completed:
            return add_areas(DatasetCatalog.get(name), cleaned), []
        if any(problem.scope == DATA_SET for problem in problems):
            return [], problems
        return add_areas(load_cleaned_coco_json(cleaned, metadata.image_root, name), cleaned), problems
    return DatasetCatalog.get(name), []


def evaluation_ground_truth(name: str) -> Optional[Dict[str, Any]]:
    """Return the contents of a COCO json that the evaluation has to measure against, None if the file itself will do.

    The evaluation reads the json itself, and must neither count what is left out of the data set nor stop at what the
    json does not say.

    Args:
        name: of a registered data set; of one that is no COCO json there is nothing to say.

    Raises:
        DatasetError: the data set cannot be loaded.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "coco":
        return None  # a json_file is then what detectron2 made of the dictionaries
    cleaned, problems, completed = _clean(name)
    if _POLICY.get(name, "stop") == "stop" and not completed:
        return None  # all or nothing is loaded
    used = {record["image_id"] for record in load_dataset_dicts(name)}
    if not problems and not completed and len(used) == len(cleaned["images"]):
        return None
    return {
        **cleaned,
        "images": [image for image in cleaned["images"] if image["id"] in used],
        "annotations": [annotation for annotation in cleaned["annotations"] if annotation["image_id"] in used],
    }


def _clean(name: str) -> CleanedJson:
    metadata = MetadataCatalog.get(name)
    return clean_coco_json(metadata.json_file, metadata.image_root, keep_missing_images=name in _SKIPS)


def _unknown_name(name: str) -> str:
    return (
        f"No data set is registered as {name!r}. For a VOC-layout folder set DATASETS.VOC_LAYOUT.ROOT, for a COCO json "
        "DATASETS.COCO_JSON.TRAIN_JSON and TRAIN_IMAGES: data sets are then registered by "
        "frcnn_alt.data.register_datasets(cfg). Or register it yourself in detectron2's DatasetCatalog. "
        f"Registered now: {', '.join(sorted(DatasetCatalog.list()))}."
    )


def _where_to_get(name: str) -> str:
    """Say where a data set that detectron2 knows by name is to be had and where it has to lie."""
    root = os.environ.get("DETECTRON2_DATASETS")
    place = f"$DETECTRON2_DATASETS (now {root})" if root else "$DETECTRON2_DATASETS (not set, so ./datasets)"
    if name.startswith("voc_"):
        year = MetadataCatalog.get(name).year
        return (
            f"get PASCAL VOC from http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/ and put the folder VOC{year} of "
            f"its archives (Annotations, ImageSets, JPEGImages) into {place}; detectron2 reads that variable when "
            "it is imported"
        )
    if name.startswith("coco_"):
        return f"get COCO from https://cocodataset.org and put annotations/ and its image folders into {place}/coco"
    return "it was there when the data set was registered, or its path is wrong"
