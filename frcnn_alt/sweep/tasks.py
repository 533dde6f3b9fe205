"""A task of a sweep: one command line, what it needs, and the mark that it is done.

Every task is a command that a person can type. It is done when its mark says so: with the command, with what its config
files said, and with what the tasks before it had made at the time. A task of which any of these has changed is done
anew.
"""

import json
import os
import shlex
import shutil
import uuid
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from ..engine.manifest import write_json
from ..safe_write import make_folder

__all__ = ["TRAIN", "Task", "TaskMarks", "from_here"]

TRAIN = "train"
# Programs that find out themselves what of their folder still holds.
_RESUMED = (TRAIN, "pretrain")


def from_here(path: str) -> str:
    """A path from where the command runs, if it lies below: commands of a moved repository stay the same."""
    path = os.path.abspath(path)
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


@dataclass(frozen=True)
class Task:
    """One command.

    Attributes:
        name: unique in the sweep, and good for a file's name.
        kind: "pretrain", "train", "convert", "proposals", "evaluate", "recall" or "time".
        command: its words, after the Python interpreter.
        folder: what it writes to; removed before the task is done anew, except that of a training or a pre-training,
            which finds out itself what of it still holds.
        needs: names of the tasks before it.
        iterations: of training.
        shared_iterations: those that another training does for it.
        about: what is worth knowing of it, for the plan.
        config: hash of what its config files say; a command stays the same when they are edited.
    """

    name: str
    kind: str
    command: Tuple[str, ...]
    folder: str
    needs: Tuple[str, ...] = ()
    iterations: int = 0
    shared_iterations: int = 0
    about: str = ""
    config: str = ""

    @property
    def command_line(self) -> str:
        """As it is typed."""
        return shlex.join(("python", *self.command))


class TaskMarks:
    """The marks of finished tasks, a small file for each.

    Args:
        folder: where they lie.
        tasks: name -> task.
    """

    def __init__(self, folder: str, tasks: Mapping[str, Task]):
        self.folder = folder
        self.tasks = tasks

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, f"{name}.json")

    def _read(self, name: str) -> Optional[Dict[str, Any]]:
        try:
            with open(self._path(name)) as file:
                mark = json.load(file)
            return mark if isinstance(mark, dict) else None
        except (OSError, ValueError):
            return None  # not done, or cut while it was written

    def is_done(self, name: str) -> bool:
        """Whether the task, and all that it rests on, is done as it is now."""
        task, mark = self.tasks[name], self._read(name)
        if mark is None or not os.path.exists(task.folder):
            return False
        if mark.get("command") != list(task.command) or mark.get("config") != task.config:
            return False
        return all(self.is_done(need) for need in task.needs) and mark.get("made_of") == self._made_of(task)

    def seconds(self, name: str) -> Optional[float]:
        """How long the task took when it was done; None where it went on with what an interrupted one had left."""
        return (self._read(name) or {}).get("seconds")

    def prepare(self, name: str) -> None:
        """Remove what an earlier form of the task left, if there is any."""
        task = self.tasks[name]
        if self._read(name) is not None:
            os.remove(self._path(name))
            if task.kind not in _RESUMED and os.path.isdir(task.folder):
                shutil.rmtree(task.folder)

    def set(self, name: str, seconds: Optional[float]) -> None:
        """Mark the task as done."""
        task = self.tasks[name]
        make_folder(self.folder)
        made = {
            "command": list(task.command),
            "config": task.config,
            "made_of": self._made_of(task),
            "this": uuid.uuid4().hex,
        }
        write_json({**made, "seconds": seconds}, self._path(name))

    def _made_of(self, task: Task) -> Dict[str, Any]:
        return {need: (self._read(need) or {}).get("this") for need in task.needs}
