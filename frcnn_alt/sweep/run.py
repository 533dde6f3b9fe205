"""Running a plan: each task as soon as what it needs is done; one that fails stops only those that rest on it."""

import os
import time
from typing import Callable, Dict, List, Optional

from ..engine.folder_lock import held_folder
from ..report.text import duration
from ..safe_write import make_folder
from .executors import Executor
from .plan import SweepPlan
from .tasks import TRAIN, Task
from .write import note_provenance

__all__ = ["run_sweep"]

DONE, FAILED, SKIPPED, RUNNING, WAITING = "done", "failed", "skipped", "running", "waiting"
SECONDS_BETWEEN_LOOKS = 0.2
LOCK_FILE = "sweep.lock"
# Lines of a failed task's log that are shown.
LAST_LINES = 6


class _Run:
    def __init__(self, plan: SweepPlan, executor: Executor, say: Callable[[str], None]):
        self.plan = plan
        self.executor = executor
        self.say = say
        self.marks = plan.marks
        self.logs = os.path.join(plan.folder, "logs")
        self.states = {name: DONE if self.marks.is_done(name) else WAITING for name in plan.tasks}
        self.began: Dict[str, float] = {}
        self.resumed: Dict[str, bool] = {}
        self.most_at_once = 1

    def _named(self, state: str) -> List[str]:
        return [name for name, of_task in self.states.items() if of_task == state]

    def run(self) -> Dict[str, str]:
        make_folder(self.logs)
        if self._named(DONE):
            self.say(f"{len(self._named(DONE))} of {len(self.states)} tasks are done already")
        while self._named(WAITING) or self._named(RUNNING):
            self._skip()
            started = self._start()
            ended = self.executor.ended()
            for name, status in ended.items():
                self._end(name, status)
            if not started and not ended:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        return self.states

    def _skip(self) -> None:
        """Give up tasks that rest on one that has failed; in the order of the tasks, so that it goes on to the last."""
        for name in self._named(WAITING):
            lost = [need for need in self.plan.tasks[name].needs if self.states[need] in (FAILED, SKIPPED)]
            if lost:
                self.states[name] = SKIPPED
                self.say(f"{name}: skipped, it needs {' and '.join(lost)}")

    def _start(self) -> bool:
        started = False
        for name in self._named(WAITING):
            task = self.plan.tasks[name]
            if self.executor.has_room() and all(self.states[need] == DONE for need in task.needs):
                self.marks.prepare(name)
                self.resumed[name] = os.path.exists(task.folder)
                self.executor.start(task, self._log(task))
                self.states[name], self.began[name] = RUNNING, time.monotonic()
                started = True
        self.most_at_once = max(self.most_at_once, len(self._named(RUNNING)))
        return started

    def _log(self, task: Task) -> str:
        return os.path.join(self.logs, f"{task.name}.log")

    def _end(self, name: str, status: int) -> None:
        seconds = time.monotonic() - self.began[name]
        task = self.plan.tasks[name]
        if status == 0 and os.path.exists(task.folder):
            self.states[name] = DONE
            self.marks.set(name, None if self.resumed[name] else seconds)
        else:
            self.states[name] = FAILED
        over = [name for name, state in self.states.items() if state not in (WAITING, RUNNING)]
        text = f"[{len(over)}/{len(self.states)}] {name}: {self.states[name]} after {duration(seconds)}"
        left = self._time_left()
        if self.states[name] == FAILED:
            text += f", exit status {status}; {self._log(task)} ends with\n{self._last_lines(task)}"
        elif left:  # not known while a kind is new, and 0 at the end
            text += f", about {duration(left)} left"
        self.say(text)

    def _last_lines(self, task: Task) -> str:
        with open(self._log(task), errors="replace") as file:
            lines = [line.rstrip() for line in file if line.strip()]
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    def _time_left(self) -> Optional[float]:
        """Seconds, from what tasks of the same kind took; None while a kind is still unknown."""
        per_unit: Dict[str, List[float]] = {}
        for name in self._named(DONE):
            seconds = self.marks.seconds(name)
            if seconds is not None:
                per_unit.setdefault(_kind(self.plan.tasks[name]), []).append(seconds / _units(self.plan.tasks[name]))
        left = 0.0
        for name in self._named(WAITING) + self._named(RUNNING):
            task = self.plan.tasks[name]
            known = per_unit.get(_kind(task))
            if known is None:
                return None
            passed = time.monotonic() - self.began[name] if self.states[name] == RUNNING else 0.0
            left += max(sum(known) / len(known) * _units(task) - passed, 0.0)
        return left / self.most_at_once


def _kind(task: Task) -> str:
    """What takes about as long for an iteration, or for all of it: Selective Search is no RPN."""
    if task.kind == "proposals":
        return " ".join((task.kind, *task.command[1:2]))
    return task.kind if task.iterations or task.kind != TRAIN else "put together"


def _units(task: Task) -> int:
    return task.iterations or 1


def run_sweep(plan: SweepPlan, executor: Executor, say: Callable[[str], None] = print) -> Dict[str, str]:
    """Do all tasks of a plan that are not done.

    Args:
        plan: without problems.
        executor: where they run.
        say: is told what happens, a line or a few at a time.

    Returns:
        Name -> "done", "failed" or "skipped".

    Raises:
        ConfigError: another sweep is at work in the folder.
        KeyboardInterrupt: after everything that ran has been stopped.
    """
    with held_folder(plan.folder, "--output", what="another sweep", file_name=LOCK_FILE):
        note_provenance(plan)
        try:
            return _Run(plan, executor, say).run()
        finally:
            executor.stop()
