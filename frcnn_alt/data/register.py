"""Data sets from config: ``register_datasets`` turns a folder or a COCO json named in a config into data sets.

No code is needed for one's own data: ``DATASETS.VOC_LAYOUT.ROOT`` on the command line is enough.
"""

import hashlib
import logging
import os
from typing import Any, List, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from .class_names import class_names_of
from .coco_json import clean_coco_json
from .load import load_dataset_dicts, set_malformed_policy
from .problems import DATA_SET, DatasetError, describe_problems
from .voc_layout import find_voc_layout_classes, list_voc_layout_splits

__all__ = ["register_datasets"]

logger = logging.getLogger(__name__)


def register_datasets(cfg: CfgNode) -> None:
    """Register the data sets that `cfg` describes and write their names and classes into it.

    Reads DATASETS.VOC_LAYOUT, DATASETS.COCO_JSON, DATASETS.MALFORMED and DATALOADER.UNREADABLE_IMAGES; sets
    DATASETS.TRAIN, DATASETS.TEST, MODEL.ROI_HEADS.NUM_CLASSES and DATASETS.VOC_LAYOUT.CLASSES. VOC-layout sets are
    called ``<folder>_<split>``, COCO json sets ``<image folder>_<json file>``. A config that names registered data sets
    itself keeps them, and gets their number of classes. Calling it again changes nothing, so a config frozen after the
    first call is accepted.

    Raises:
        DatasetError: a folder, file, split or class list that is missing or contradictory; the key is named.
    """
    voc, coco = cfg.DATASETS.VOC_LAYOUT, cfg.DATASETS.COCO_JSON
    if voc.ROOT and (coco.TRAIN_JSON or coco.TEST_JSON):
        raise DatasetError(
            "DATASETS.VOC_LAYOUT.ROOT and DATASETS.COCO_JSON are both set: say which data set is meant by setting "
            'the other to "".'
        )
    if voc.ROOT:
        train, test = _register_voc_layout(cfg)
    elif coco.TRAIN_JSON or coco.TEST_JSON:
        train, test = _register_coco_json(cfg)
    else:
        train, test = tuple(cfg.DATASETS.TRAIN), tuple(cfg.DATASETS.TEST)
    _set(cfg.DATASETS, "TRAIN", train)
    _set(cfg.DATASETS, "TEST", test)
    set_malformed_policy([*train, *test], cfg)
    _set_number_of_classes(cfg)


def _register_voc_layout(cfg: CfgNode) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    keys = cfg.DATASETS.VOC_LAYOUT
    root = os.path.abspath(os.path.expanduser(keys.ROOT))
    existing = list_voc_layout_splits(root)
    if not existing:
        raise DatasetError(f"DATASETS.VOC_LAYOUT.ROOT is {keys.ROOT!r}, but {_why_not_voc_layout(root)}")
    for key in ("TRAIN_SPLITS", "TEST_SPLITS"):
        if isinstance(keys[key], str):
            raise DatasetError(f'DATASETS.VOC_LAYOUT.{key} is {keys[key]!r}; write a tuple: ("{keys[key]}",)')
        missing = [split for split in keys[key] if split not in existing]
        if missing:
            raise DatasetError(
                f"DATASETS.VOC_LAYOUT.{key} names {', '.join(missing)}, but {root}/ImageSets/Main has no such file; "
                f"it has {', '.join(existing)}."
            )
    if not keys.TRAIN_SPLITS:
        raise DatasetError(f"DATASETS.VOC_LAYOUT.TRAIN_SPLITS is empty; {root} has the splits {', '.join(existing)}.")
    classes = list(keys.CLASSES) or find_voc_layout_classes(root, [*keys.TRAIN_SPLITS, *keys.TEST_SPLITS])
    if len(set(classes)) < len(classes):
        raise DatasetError(f"DATASETS.VOC_LAYOUT.CLASSES names a class twice: {classes}.")

    def register(split: str) -> str:
        name, is_new = _choose_name(
            cfg, f"{os.path.basename(root)}_{split}", dirname=root, split=split, thing_classes=classes
        )
        if is_new:
            DatasetCatalog.register(name, lambda: load_dataset_dicts(name))
            MetadataCatalog.get(name).set(
                thing_classes=classes, dirname=root, split=split, year=2007, evaluator_type="pascal_voc"
            )
        return name

    names = tuple(map(register, keys.TRAIN_SPLITS)), tuple(map(register, keys.TEST_SPLITS))
    _set(keys, "CLASSES", tuple(classes))
    return names


def _why_not_voc_layout(root: str) -> str:
    if not os.path.isdir(root):
        hint = " `python -m frcnn_alt.data.shapes --output datasets/shapes` generates the demo's images."
        return f"there is no folder {root}.{hint if os.path.basename(root) == 'shapes' else ''}"
    inside = [name for name in sorted(os.listdir(root)) if list_voc_layout_splits(os.path.join(root, name))]
    hint = f" Did you mean {' or '.join(os.path.join(root, name) for name in inside)}?" if inside else ""
    return (
        f"{root} is not a VOC-layout folder: it has no ImageSets/Main/<split>.txt (beside Annotations and "
        f"JPEGImages).{hint}"
    )


def _register_coco_json(cfg: CfgNode) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    keys = cfg.DATASETS.COCO_JSON
    if not keys.TRAIN_JSON:
        raise DatasetError("DATASETS.COCO_JSON.TEST_JSON is set but DATASETS.COCO_JSON.TRAIN_JSON is empty.")
    names: List[Tuple[str, ...]] = []
    classes_of_training: List[str] = []
    for side in ("TRAIN", "TEST"):
        json_key, images_key = f"{side}_JSON", f"{side}_IMAGES"
        if not keys[json_key]:
            names.append(())
            continue
        json_file, image_root = (os.path.abspath(os.path.expanduser(keys[key])) for key in (json_key, images_key))
        if not os.path.isfile(json_file):
            raise DatasetError(
                f"DATASETS.COCO_JSON.{json_key} is {keys[json_key]!r}, but there is no file {json_file}."
            )
        if not keys[images_key] or not os.path.isdir(image_root):
            raise DatasetError(
                f"DATASETS.COCO_JSON.{images_key} is {keys[images_key]!r}; set it to the folder that the file names in "
                f"{json_file} are relative to."
            )
        contents, problems, _ = clean_coco_json(json_file, image_root)
        fatal = [problem for problem in problems if problem.scope == DATA_SET]
        if fatal:
            raise DatasetError(f"DATASETS.COCO_JSON.{json_key}: {describe_problems(fatal)}")
        classes = [category["name"] for category in sorted(contents["categories"], key=lambda c: c["id"])]
        classes_of_training = classes_of_training or classes
        if classes != classes_of_training:
            raise DatasetError(
                f"The categories of {json_file} (in order of id: {', '.join(classes)}) are not those of "
                f"{keys.TRAIN_JSON} ({', '.join(classes_of_training)}); a class would be taken for another."
            )
        wanted = f"{os.path.basename(image_root)}_{os.path.splitext(os.path.basename(json_file))[0]}"
        name, is_new = _choose_name(cfg, wanted, json_file=json_file, image_root=image_root, thing_classes=classes)
        if is_new:
            register_coco_instances(name, {"thing_classes": classes}, json_file, image_root)
        names.append((name,))
    return names[0], names[1]


def _choose_name(cfg: CfgNode, wanted: str, **identity: Any) -> Tuple[str, bool]:
    """Return the name for a data set and whether it still has to be registered.

    A name that already stands for other data (another root of the same folder name, other classes) is never reused:
    the data set then gets a name with a suffix made from what it is.
    """
    suffix = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:6]
    with_suffix = f"{wanted}_{suffix}"
    chosen_before = with_suffix in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)  # e.g. by the process that sent this cfg
    for name in [with_suffix] if chosen_before else [wanted, with_suffix]:
        if name not in DatasetCatalog:
            if name != wanted:
                logger.warning(f"The name {wanted!r} stands for other data already; this data set is called {name!r}.")
            MetadataCatalog.pop(name, None)  # left by somebody who asked for it before it was registered
            return name, True
        metadata = MetadataCatalog.get(name)
        if all(metadata.get(key) == value for key, value in identity.items()):
            return name, False
    raise DatasetError(f"The data set names {wanted!r} and {with_suffix!r} are both taken by other data.")


def _set_number_of_classes(cfg: CfgNode) -> None:
    known = class_names_of(cfg.DATASETS.TRAIN)
    if not known:
        return  # registered without class names: the config's own number stands
    first, classes = next(iter(known.items()))
    for name, others in known.items():
        if list(others) != list(classes):
            raise DatasetError(
                f"DATASETS.TRAIN mixes data sets of different classes: {first} has {classes}, {name} {others}."
            )
    heads = cfg.MODEL.ROI_HEADS
    number = len(classes)
    if number != heads.NUM_CLASSES:
        logger.info(f"MODEL.ROI_HEADS.NUM_CLASSES: {heads.NUM_CLASSES} -> {number} ({_shorten(classes)})")
    _set(heads, "NUM_CLASSES", number)


def _shorten(names: Sequence[str], limit: int = 20) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _set(node: CfgNode, key: str, value: Any) -> None:
    """Set a value unless it is there already, so that a frozen config that is complete passes."""
    if node[key] != value:
        if node.is_frozen():
            raise DatasetError(
                f"register_datasets has to set {key} to {value!r}, but the config is frozen: call it before."
            )
        node[key] = value
