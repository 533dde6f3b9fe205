"""Which classes a network of a config tells apart: what its files remember, and whether it is measured on the same."""

from typing import Any, Dict, List, Mapping

from detectron2.config import CfgNode

from ..checkpointing import first_difference
from ..data import class_names_of

__all__ = ["class_problems", "record_of_classes", "remarks_on_other_classes"]


def record_of_classes(cfg: CfgNode) -> Dict[str, Any]:
    """Return what the file of a detector trained on DATASETS.TRAIN remembers: "classes", the names in their order.

    Nothing where the data sets come without names, or with others than the network has rows for.
    """
    for classes in class_names_of(cfg.DATASETS.TRAIN).values():
        return {"classes": classes} if len(classes) == cfg.MODEL.ROI_HEADS.NUM_CLASSES else {}
    return {}


def remarks_on_other_classes(cfg: CfgNode, record: Mapping[str, Any]) -> List[str]:
    """Say it if a training begins with the class rows of a detector of other classes; `record` is of its file."""
    ours = record_of_classes(cfg).get("classes")
    theirs = record.get("classes")
    different = first_difference(theirs, ours) if ours and theirs else None
    if not different:
        return []
    return [
        f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} is of other classes than DATASETS.TRAIN, or of the same in another order: "
        f"what were the rows of class {different.place}, {different.ours}, begin as those of {different.theirs}, and "
        "so on. tools/convert_weights.py --classes chooses and orders them."
    ]


def class_problems(cfg: CfgNode) -> List[str]:
    """Say of each test set that has other classes than the training data, or has them in another order.

    Detections would be measured against the wrong objects, after all of the training.
    """
    trained = class_names_of(cfg.DATASETS.TRAIN)
    problems = []
    for name, classes in class_names_of(cfg.DATASETS.TEST).items():
        for training_set, ours in list(trained.items())[:1]:
            different = first_difference(ours, classes)
            if different:
                problems.append(
                    f"DATASETS.TEST: {name} has other classes than {training_set} of DATASETS.TRAIN, or the same in "
                    f"another order: class {different.place} is {different.ours} in training, {different.theirs} "
                    "there. Leave it out, and let tools/convert_weights.py --classes make a detector of its classes."
                )
    return problems
