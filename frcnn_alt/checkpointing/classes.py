"""The class rows of a detector: which classes they are of, and the rows of some classes alone, in any order.

A detector of some classes becomes one of fewer without training: the softmax over the logits that are kept, background
included, is what "COCO only" of the paper's Table 12 is (SPEC 8.11). Class by class are the logits, the box deltas, the
statistics that the deltas are normalised by (`NormalizedBox2BoxTransform`) and the masks of Mask R-CNN.

A file remembers its classes in its record, under "classes".

Shape letters: K classes of the file, L classes that are kept.
"""

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from .errors import CheckpointError
from .foreign import RELEASED_FORM
from .released import released_tensors
from .same_class import first_difference, rows_of_classes

__all__ = ["check_classes", "select_classes"]

_PREDICTOR = r"roi_heads\.box_predictor(\.\d+)?"  # with a number: detectron2's cascade
_CLS_SCORE = re.compile(rf"{_PREDICTOR}\.cls_score\.(weight|bias)")
_BBOX_PRED = re.compile(rf"{_PREDICTOR}\.bbox_pred\.(weight|bias)")
_ROW_BY_ROW = re.compile(rf"{_PREDICTOR}\.box2box_transform\.(mean|std)|roi_heads\.mask_head\.predictor\.(weight|bias)")
# What is the same for all classes in detectron2's RoI heads.
_OF_NO_CLASS = re.compile(r"roi_heads\.(box_head|res5|keypoint_head|mask_head\.mask_fcn\d+|mask_head\.deconv)\.")


def _number_of_classes(state: Mapping[str, torch.Tensor], path: str) -> int:
    rows = {len(tensor) for name, tensor in state.items() if _CLS_SCORE.fullmatch(name)}
    if not rows:
        raise CheckpointError(
            f"{path} is no detector whose classes could be chosen: it has no roi_heads.box_predictor.cls_score."
        )
    if len(rows) > 1:
        raise CheckpointError(f"{path}: the layers cls_score have different numbers of rows: {sorted(rows)}.")
    return rows.pop() - 1


def _rows_of(name: str, tensor: torch.Tensor, rows: List[int], num_classes: int, path: str) -> torch.Tensor:
    """The rows of `tensor` that belong to the classes `rows`; all of it where it is of no class, or of all together."""
    if _CLS_SCORE.fullmatch(name):
        return tensor[[*rows, num_classes]]
    if _BBOX_PRED.fullmatch(name) and len(tensor) == 4 * num_classes:
        return tensor.unflatten(0, (num_classes, 4))[rows].flatten(0, 1)
    if _ROW_BY_ROW.fullmatch(name) and len(tensor) == num_classes:
        return tensor[rows]
    if (_BBOX_PRED.fullmatch(name) and len(tensor) == 4) or (_ROW_BY_ROW.fullmatch(name) and len(tensor) == 1):
        return tensor
    by_class = (num_classes, num_classes + 1, 4 * num_classes)
    is_unknown = name.startswith("roi_heads.") and not _OF_NO_CLASS.match(name) and tensor.dim() > 0
    if is_unknown and len(tensor) in by_class:
        raise CheckpointError(
            f"{path}: {name} has {len(tensor)} rows, which may be one for each class, and is of no layer of which that "
            "is known here: classes can be chosen for detectron2's box predictors and its mask head."
        )
    return tensor


def select_classes(
    checkpoint: Mapping[str, Any],
    path: str,
    classes: Sequence[str],
    known: Optional[Sequence[str]] = None,
    synonyms: Optional[Mapping[str, str]] = None,
) -> Tuple[Dict[str, Any], List[int], List[str]]:
    """Make of a detector's checkpoint one of `classes`, in this order; the background stays last.

    Args:
        checkpoint: of `read_checkpoint`, foreign ones included (background last there too); not changed.
        path: of its file, for messages.
        classes: names of the L classes.
        known: names of the file's K classes in the order of its rows. Default: what the file remembers.
        synonyms: see `rows_of_classes`.

    Returns:
        The checkpoint, with "model" and "frcnn_alt" alone, which remembers `classes` (foreign weights in the released
        form: `fit_to_model` has still to see them); row in the file of each class; the file's own names.

    Raises:
        CheckpointError: no detector; its class names are not known, or contradict what it remembers or its number of
            rows; a class that it does not have; see `rows_of_classes`. Or a layer that may be class by class, too, and
            is none of detectron2's.
    """
    record = dict(checkpoint.get("frcnn_alt", {}))
    state = checkpoint["model"]
    released = released_tensors(checkpoint)
    if released is not None:  # what was fitted to a model once is chosen from as it was released
        state = released
        record = {key: value for key, value in record.items() if key not in ("released", "fitted_hash", "fitted_to")}
        record["form"] = RELEASED_FORM
    num_classes = _number_of_classes(state, path)
    names = _names(record.get("classes"), known, path)
    if len(names) != num_classes:
        raise CheckpointError(
            f"{path} has rows of {num_classes} classes, but {len(names)} names are given for them (none is for the "
            "background)."
        )
    try:
        rows = rows_of_classes(classes, names, synonyms)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model = {name: _rows_of(name, tensor, rows, num_classes, path) for name, tensor in state.items()}
    return {"model": model, "frcnn_alt": {**record, "classes": list(classes)}}, rows, names


def _names(remembered: Optional[Sequence[str]], given: Optional[Sequence[str]], path: str) -> List[str]:
    if remembered is None and given is None:
        raise CheckpointError(
            f"{path} does not tell which classes its rows are of (files of other programs or earlier versions do not): "
            "say it with --from-classes (voc, coco, a data set, or a file with one name a line)."
        )
    if remembered is not None and given is not None:
        different = first_difference(remembered, given)
        if different:
            raise CheckpointError(
                f"{path} remembers other classes than --from-classes gives it: {different.ours} and not "
                f"{different.theirs} is its class {different.place}. Leave --from-classes out."
            )
    return list(remembered if remembered is not None else given)


def check_classes(record: Mapping[str, Any], data_sets: Mapping[str, Sequence[str]], path: str) -> None:
    """Refuse a detector that tells other classes apart than those of a data set, or has them in another order.

    Args:
        record: "frcnn_alt" of its checkpoint; one without "classes" is not compared.
        data_sets: name -> class names.
        path: of the detector.

    Raises:
        CheckpointError: it names the first class that differs, and the mend.
    """
    classes = record.get("classes")
    for name, theirs in data_sets.items() if classes else ():
        different = first_difference(classes, theirs)
        if different:
            raise CheckpointError(
                f"{path} is a detector of other classes than those of {name}, or of the same in another order: its "
                f"class {different.place} (of {len(classes)}, from 0 on) is {different.ours}, that of {name} (of "
                f"{len(theirs)}) {different.theirs}. `python tools/convert_weights.py --config-file <this config> "
                f"{path} --classes {name} -o <file>.pth` writes a detector of the latter, to be named in MODEL.WEIGHTS."
            )
