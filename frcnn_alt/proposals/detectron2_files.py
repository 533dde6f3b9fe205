"""Proposals in detectron2's own ``.pkl`` form, and in Detectron's, read without running what a pickle could run.

Shape letters: N images in the file, R boxes of one image, B = 4.
"""

import pickle
import reprlib
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
from detectron2.structures import BoxMode

from ..safe_pickle import ArrayUnpickler, load_arrays
from .matlab_files import Boxes, ImageReader
from .proposal_set import ProposalSetError

__all__ = ["read_detectron2"]

_KEYS = ("ids", "boxes", "objectness_logits")
_DETECTRON_KEYS = {"indexes": "ids", "scores": "objectness_logits"}


class _ProposalUnpickler(ArrayUnpickler):
    """Arrays and plain containers, and the enumeration of "bbox_mode"."""

    also_admitted = (("detectron2.structures.boxes", "BoxMode"),)


def _box_mode(value: Any, path: Path) -> BoxMode:
    try:
        mode = BoxMode(value)
    except (TypeError, ValueError):
        raise ProposalSetError(f"{path}: {reprlib.repr(value)} is not a value of BoxMode") from None
    if mode not in (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        raise ProposalSetError(f"{path}: bbox_mode is {mode.name}; XYXY_ABS and XYWH_ABS are read")
    return mode


def _numbers(value: Any, where: str) -> np.ndarray:
    """An array of float64, never one that is larger than what the file holds."""
    is_array = isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    rows = value if isinstance(value, (list, tuple)) else [None]
    if not is_array and not all(_is_number(one) or _is_row(one) for one in rows):
        raise ProposalSetError(f"{where} needs arrays of numbers")
    try:
        return np.asarray(value, dtype=np.float64)
    except (OverflowError, ValueError) as error:  # a number of hundreds of digits; rows of different lengths
        raise ProposalSetError(f"{where} needs arrays of numbers: {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number))


def _is_row(value: Any) -> bool:
    """A row of a box. A list of a pickle can stand in many places, so that long ones could be any amount of numbers."""
    return isinstance(value, (list, tuple)) and len(value) <= 5 and all(map(_is_number, value))


def read_detectron2(path: Path) -> Tuple[List[str], ImageReader]:
    """A pickled dict that DATASETS.PROPOSAL_FILES_TRAIN could name.

    "ids" (N; compared as str), "boxes" (N arrays R x 4, pixels of the original images), "objectness_logits" (N arrays
    R), and "bbox_mode", by default XYXY_ABS. Detectron says "indexes" and "scores". Source: detectron2's
    ``load_proposals_into_dataset``; SPEC 9.

    Returns:
        the images' ids, and a reader of the boxes (R x 4 float64, XYXY) and scores (R) of the image of a number.

    Raises:
        ProposalSetError: it is not such a file, or one that would run code.
    """
    try:
        with open(path, "rb") as file:
            data = load_arrays(file, _ProposalUnpickler)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = error if isinstance(error, (pickle.UnpicklingError, OSError)) else f"it is damaged ({error!r})"
        raise ProposalSetError(f"{path} cannot be read as a proposal file: {reason}") from None
    if not isinstance(data, dict):
        raise ProposalSetError(f"{path} is not a proposal file: it holds a {type(data).__name__}, not a dict")
    data = {_DETECTRON_KEYS.get(key, key): value for key, value in data.items() if isinstance(key, str)}
    lacking = [key for key in _KEYS if key not in data]
    if lacking:
        raise ProposalSetError(f"{path} is not a proposal file: it has no {', '.join(lacking)}")
    garbled = [
        key
        for key in _KEYS
        if not isinstance(data[key], (list, tuple, np.ndarray)) or getattr(data[key], "ndim", 1) == 0
    ]
    if garbled:
        raise ProposalSetError(f"{path} is not a proposal file: its {', '.join(garbled)} are no lists")
    counts = {key: len(data[key]) for key in _KEYS}
    if len(set(counts.values())) > 1:
        raise ProposalSetError(f"{path}: its lists differ in length: {counts}")
    mode = _box_mode(data.get("bbox_mode", BoxMode.XYXY_ABS), path)
    if not all(isinstance(image_id, (str, int, np.number)) for image_id in data["ids"]):
        raise ProposalSetError(f"{path} is not a proposal file: its ids are not all texts or numbers")
    names = [str(image_id) for image_id in data["ids"]]

    def read(number: int) -> Boxes:
        boxes, scores = (_numbers(data[key][number], f"{path}: image {names[number]}") for key in _KEYS[1:])
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
            raise ProposalSetError(
                f"{path}: image {names[number]} needs R x 4 boxes and R scores, got {boxes.shape} and {scores.shape}"
            )
        return BoxMode.convert(boxes, mode, BoxMode.XYXY_ABS), scores

    return names, read
