"""One planned training: its task, its config, and what tells which of its steps another one shares."""

import os
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from detectron2.config import CfgNode

from ..engine import ConfigError
from ..engine.manifest import NO_MATTER, Manifest, config_hash
from ..engine.schedule import Schedule
from .tasks import TRAIN, Task

__all__ = ["Training", "as_words", "begun_with", "config_of", "file_of_evaluation", "most_in_common"]


def config_of(cfg: CfgNode) -> str:
    """Hash of all that a config says and that may change what comes out."""
    return config_hash(cfg, {}, NO_MATTER)


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
    def _is_trained(self) -> bool:
        return self.task.kind == TRAIN

    @property
    def config_file(self) -> str:
        """Of the final network, once it is trained, or tested as it was given."""
        return self._file("config.yaml")

    @property
    def results(self) -> str:
        """The file with the results of its own evaluation."""
        return self._file("results.json")

    def _file(self, name: str) -> str:
        return os.path.join(self.task.folder, name) if self._is_trained else file_of_evaluation(self.task, name)

    @property
    def weights(self) -> str:
        """The file of the final network."""
        return os.path.join(self.task.folder, "model_final.pth") if self._is_trained else self.cfg.MODEL.WEIGHTS


def file_of_evaluation(task: Task, name: str) -> str:
    """A file that ``--eval-only`` writes."""
    return os.path.join(task.folder, "eval_only", name)


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


def begun_with(folder: str) -> Optional[Tuple[str, int]]:
    """The run that gave the training in `folder` its first steps when it was begun, and how many.

    Returns:
        The name of the run's folder and a number; "" and 0 if it trains all of its steps; None if it was not begun.
    """
    try:
        manifest = Manifest.read(folder)
    except ConfigError:
        return None  # damaged, as the training itself will say
    if manifest is None:
        return None
    given = [entry["given"]["run"] for entry in manifest.data["steps"] if (entry.get("given") or {}).get("run")]
    return (os.path.basename(given[0]), len(given)) if given else ("", 0)
