"""Sweeps whose tasks are small scripts that write down when they run, instead of trainings."""

from pathlib import Path

from frcnn_alt.sweep.executors import LocalExecutor
from frcnn_alt.sweep.plan import SweepPlan
from frcnn_alt.sweep.run import run_sweep
from frcnn_alt.sweep.tasks import Task

_SCRIPT = """
import os, sys, time
name, folder, diary, status, seconds = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
with open(diary, "a") as file:
    file.write(f"+{name} ")
print("hello from", name, flush=True)
time.sleep(float(seconds))
with open(diary, "a") as file:
    file.write(f"-{name} ")
sys.exit(int(status))
"""


class ScriptedSweep:
    """A sweep of scripts below `folder`; `needs` maps a task to those before it."""

    def __init__(self, folder, needs, fails=(), seconds=0.0):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        (self.folder / "script.py").write_text(_SCRIPT)
        self.diary_file = self.folder / "diary"
        self.needs, self.fails, self.seconds = needs, fails, seconds

    def task(self, name):
        folder = str(self.folder / "made" / name)
        status = "3" if name in self.fails else "0"
        words = (str(self.folder / "script.py"), name, folder, str(self.diary_file), status, str(self.seconds))
        return Task(name, "evaluate", words, folder, tuple(self.needs[name]))

    def plan(self):
        tasks = {name: self.task(name) for name in self.needs}
        return SweepPlan((), (0,), str(self.folder / "sweep"), tasks, {}, ())

    def run(self, jobs=1, executor=None):
        """(states, what was said, names of the tasks that were begun this time)."""
        self.diary_file.write_text("")
        said = []
        states = run_sweep(self.plan(), executor or LocalExecutor(jobs, devices=()), said.append)
        return states, "\n".join(said), self.begun()

    def diary(self):
        return self.diary_file.read_text().split()

    def begun(self):
        return [entry[1:] for entry in self.diary() if entry[0] == "+"]
