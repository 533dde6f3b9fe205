"""One planned training: its task, its config, and what tells which of its steps another one shares."""

import os
from dataclasses import dataclass
from typing import Any, List, Mapping

from detectron2.config import CfgNode

from ..engine.schedule import Schedule
from .tasks import TRAIN, Task

__all__ = ["Training", "as_words"]


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
