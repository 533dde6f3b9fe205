"""Checking data sets before an hour is spent on them: everything malformed is found and reported at once."""

import logging
import os
from collections import defaultdict
from typing import Any, Dict, List, Optional, Sequence

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..safe_write import make_folder, write_bytes
from .images import check_image_files
from .load import is_skipped, read_dataset, set_malformed_policy, too_elongated
from .problems import BOX, DATA_SET, DatasetError, Problem, describe_problems, has_usable_box, no_usable_box
from .unreadable import most_unreadable

__all__ = ["check_datasets"]

logger = logging.getLogger(__name__)

MAX_LINES = 50  # of the list in an error or in the log; the file has all


def check_datasets(cfg: CfgNode, names: Optional[Sequence[str]] = None) -> Dict[str, List[Problem]]:
    """Find everything malformed in the data sets of a config, and stop or leave it out as DATASETS.MALFORMED says.

    Found are: missing or unreadable images, annotation files that are missing or do not parse, boxes that are
    outside the image, have no size or count from 0, unknown classes, sizes that disagree with the image file,
    missing or empty splits, images too elongated to be resized, and duplicate image ids. With
    DATALOADER.UNREADABLE_IMAGES "skip" missing and unreadable images are no problems as long as they are few. The
    full list is written to ``OUTPUT_DIR/malformed.txt``.

    Args:
        cfg: after ``register_datasets``.
        names: of registered data sets; by default DATASETS.TRAIN, which then must have a box to train on, and
            DATASETS.TEST.

    Returns:
        The problems by data set; with "leave_out" these are not in ``load_dataset_dicts`` from now on.

    Raises:
        DatasetError: with "stop" if there is any problem; always if a whole data set is missing, or nothing is left.
    """
    trained_on = set(cfg.DATASETS.TRAIN) if names is None else set()
    names = list(dict.fromkeys(names if names is not None else [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))
    set_malformed_policy(names, cfg)
    problems: Dict[str, List[Problem]] = {}
    files: Dict[str, List[str]] = defaultdict(list)
    emptied = []
    has_boxes = not trained_on
    for name in names:
        dicts, found = read_dataset(name)
        image_problems = check_image_files(dicts, name)
        _check_skipped([problem for problem in image_problems if is_skipped(name, problem)], name, len(dicts), cfg)
        image_problems = [problem for problem in image_problems if not is_skipped(name, problem)]
        image_problems += too_elongated(dicts, name)
        problems[name] = found + image_problems
        bad = {problem.image_id for problem in image_problems}
        dicts = [record for record in dicts if record["image_id"] not in bad]
        if not dicts and not any(problem.scope == DATA_SET for problem in found):
            emptied.append(name)
        has_boxes = has_boxes or (name in trained_on and any(map(has_usable_box, dicts)))
        for record in dicts:
            files[record["file_name"]].append(name)

    _warn_of_shared_images(files, set(cfg.DATASETS.TRAIN))
    every = list(dict.fromkeys(problem for found in problems.values() for problem in found))
    list_file = _write_list(every, cfg.OUTPUT_DIR)
    if not every:
        if not has_boxes:
            raise no_usable_box(cfg.DATASETS.TRAIN)
        logger.info(f"Checked {', '.join(names)}: {len(files)} images, nothing malformed.")
        return problems
    text = f"{describe_problems(every, MAX_LINES)}\nThe full list is in {list_file}."
    if cfg.DATASETS.MALFORMED == "stop" or any(problem.scope == DATA_SET for problem in every):
        raise DatasetError(f"{text}{_advice(every)}")
    if emptied:
        raise DatasetError(f"{text}\nWithout them no image is left in {', '.join(emptied)}.")
    if not has_boxes:
        raise DatasetError(f"{text}\nWithout them: {no_usable_box(cfg.DATASETS.TRAIN)}")
    boxes = sum(problem.scope == BOX for problem in every)
    logger.warning(f"{text}\nLeft out, as DATASETS.MALFORMED says: {boxes} boxes and {len(every) - boxes} images.")
    return problems


def _check_skipped(unreadable: List[Problem], name: str, images: int, cfg: CfgNode) -> None:
    """Tell of images that will be skipped, or stop because they are too many."""
    if not unreadable:
        return
    text = f"{describe_problems(unreadable, MAX_LINES)}\nThese are {len(unreadable)} of the {images} images of {name}"
    most = most_unreadable(cfg, images)
    if len(unreadable) > most:
        raise DatasetError(
            f"{text}, more than DATALOADER.MAX_UNREADABLE_SHARE allows, {most}: put the files back, or set "
            "DATASETS.MALFORMED to 'leave_out' and DATALOADER.UNREADABLE_IMAGES to 'stop'."
        )
    logger.warning(f"{text}: they are skipped, as DATALOADER.UNREADABLE_IMAGES says.")


def _advice(problems: List[Problem]) -> str:
    if any(problem.scope == DATA_SET for problem in problems):
        return ""
    return (
        '\nMend these files, or set DATASETS.MALFORMED to "leave_out" to train and evaluate without these images '
        "and boxes."
    )


def _warn_of_shared_images(files: Dict[str, List[str]], train: Any) -> None:
    """An image in a training and a test set makes the test worthless, but somebody may want it (to overfit a few)."""
    shared = [file for file, sets in files.items() if 0 < len(train.intersection(sets)) < len(set(sets))]
    if shared:
        logger.warning(f"{len(shared)} images are both trained on and tested on, e.g. {shared[0]}.")


def _write_list(problems: List[Problem], output_dir: str) -> str:
    """Write the full list beside and rename, or remove the list of an earlier check; main process only."""
    path = os.path.join(output_dir, "malformed.txt")
    if not comm.is_main_process():
        return path
    if not problems:
        if os.path.exists(path):
            os.remove(path)
        return path
    make_folder(output_dir)
    text = describe_problems(problems) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # json knows halves of characters
    return path
