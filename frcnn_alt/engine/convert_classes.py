"""A detector's classes chosen from a command line: which lists are meant, what is told of it, whether it fits a config.

The choice itself is `frcnn_alt.checkpointing.select_classes`.
"""

from typing import Any, Dict, Mapping, Tuple

from tabulate import tabulate
from torch import nn

from ..checkpointing import CheckpointError, match_initial_weights, select_classes
from ..data import read_class_list

__all__ = ["check_shapes", "choose_classes"]


def choose_classes(
    checkpoint: Mapping[str, Any], path: str, classes: str, from_classes: str, synonyms: Mapping[str, str]
) -> Tuple[Dict[str, Any], str]:
    """Choose the rows of a detector's classes.

    Args:
        checkpoint: of `read_checkpoint`.
        path: of its file.
        classes: of `read_class_list`, those to keep; "" keeps all, and lets the file remember `from_classes`.
        from_classes: likewise, those of the file; "" takes what it remembers.
        synonyms: see `rows_of_classes`.

    Returns:
        The checkpoint, as of `select_classes`, and a table for people: which row came from where.

    Raises:
        DatasetError, CheckpointError: one of the lists is none; see `select_classes`.
    """
    known = read_class_list(from_classes) if from_classes else None
    kept = read_class_list(classes) if classes else known
    chosen, rows, names = select_classes(checkpoint, path, kept, known, synonyms)
    table = [[number, name, row, names[row]] for number, (name, row) in enumerate(zip(kept, rows))]
    table.append([len(kept), "(background)", len(names), "(background)"])
    return chosen, tabulate(table, ["row", "class", "was row", "called"], disable_numparse=True)


def check_shapes(checkpoint: Mapping[str, Any], model: nn.Module, path: str) -> Dict[str, Any]:
    """Compare the tensors of a checkpoint with those of the model that is to load it; it may hold less or more.

    Args:
        checkpoint: under detectron2's names.
        model: may be on the "meta" device.
        path: of the file, for messages.

    Returns:
        The checkpoint, with the names that the model has no use for under "not_used" of its record.

    Raises:
        CheckpointError: a tensor has another shape.
    """
    wanted = model.state_dict()
    try:
        match_initial_weights(wanted, {"": path}, lambda source: checkpoint["model"], may_be_missing=("",))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} Give the config of the model that is to load the file (--config-file, KEY VALUE): with the "
            "anchors of the detector (MODEL.ANCHOR_GENERATOR.SIZES) and data sets of the classes to keep."
        ) from None
    not_used = [name for name in checkpoint["model"] if name not in wanted]
    return {**checkpoint, "frcnn_alt": {**checkpoint["frcnn_alt"], "not_used": not_used}}
