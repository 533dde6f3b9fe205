"""One planned training: its task, its config, and what tells which of its steps another one shares."""

import os
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from detectron2.config import CfgNode

from ..engine.schedule import Schedule
from .tasks import TRAIN, Task

__all__ = ["Training", "as_words", "most_in_common"]


def as_words(values: Mapping[str, Any]) -> List[str]:
    """KEY VALUE ... of a command line."""
    return [word for key, value in values.items() for word in (key, value if isinstance(value, str) else repr(value))]


@dataclass(frozen=True)
class Training:
    """A network with one seed.

    Attributes:
        task: that trains it.
        cfg: its config.
        schedule: what is trained.
        keys: step name -> key, for comparison with other trainings.
    """

    task: Task
    cfg: CfgNode
    schedule: Schedule
    keys: Mapping[str, str]

    @property
    def config_file(self) -> str:
        """Of the final network, once it is trained."""
        return os.path.join(self.task.folder, "config.yaml")

    @property
    def results(self) -> str:
        """The file with the results of its own evaluation."""
        inside = ("results.json",) if self.task.kind == TRAIN else ("eval_only", "results.json")
        return os.path.join(self.task.folder, *inside)


def most_in_common(
    trainings: Sequence[Training], schedule: Schedule, keys: Mapping[str, str]
) -> Tuple[Optional[Training], int]:
    """The training that has most of a schedule's first steps, and how many; None and 0 if none has the first.

    Args:
        trainings: to choose from.
        schedule: of another one.
        keys: of its steps.
    """
    best: Tuple[Optional[Training], int] = (None, 0)
    for training in trainings:
        same = [training.keys.get(step.name) == keys[step.name] for step in schedule.steps]
        count = same.index(False) if False in same else len(same)
        if count > best[1]:
            best = (training, count)
    return best
