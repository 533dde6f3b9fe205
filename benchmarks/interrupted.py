"""What a run does, written down as it does it, and its death at a chosen point of that: for `kill_resume.py` alone.

The package knows nothing of this: `Diary.keep` puts notes around its functions and around those of the system that make
a file appear, in a process that is there to be killed. A note is one line, "phase<TAB>detail", written at once and
whole, so that it outlives the process.

The points: an iteration begins; half of a checkpoint is written; a file is about to get its name, or has just got it;
the proposals of an image are about to be written; a step has just become finished; the evaluation begins.
"""

import io
import os
import signal
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import torch

__all__ = ["DIARY", "Diary", "Event", "read_diary"]

Event = Tuple[str, str]  # phase, detail

# In the environment of a command of several processes: the diary, the run's folder and perhaps a point, line by line.
DIARY = "KILL_RESUME_DIARY"

_PHASES = (  # the last part of a file's path -> what a run does that gives it its name
    ("manifest.json", "manifest"),
    ("last_checkpoint", "checkpoint"),
    ("results.json", "evaluation"),
)


def read_diary(path: Path) -> List[Event]:
    """All notes, in order, as (phase, detail); a last line that is cut is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [(line.split("\t")[0], line.split("\t")[1]) for line in lines]


class Diary:
    """The notes of one process.

    Args:
        path: the file; notes are appended.
        output_dir: of the run; files are named relative to it.
        target: the note at which the process kills itself, with its workers.
    """

    def __init__(self, path: Path, output_dir: str, target: Optional[Event] = None):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.output_dir = os.path.abspath(output_dir)
        self.target = target

    def note(self, phase: str, detail: str) -> None:
        os.write(self.file, f"{phase}\t{detail}\n".encode())
        if (phase, detail) == self.target:
            os.killpg(0, signal.SIGKILL)

    def _name(self, path: Any) -> Optional[str]:
        if not isinstance(path, (str, os.PathLike)):
            return None  # a file in memory, which goes to another process
        relative = os.path.relpath(os.path.abspath(path), self.output_dir)
        return None if relative.startswith(os.pardir) else relative

    @staticmethod
    def _phase(name: str) -> str:
        folder, base = os.path.split(name)
        for ending, phase in _PHASES:
            if base == ending:
                return phase
        if folder.startswith(("report", "tensorboard")):
            return "report"
        if "proposals" in folder.split(os.sep) or folder.endswith("proposals"):
            return "proposals"
        if base.endswith(".pth"):
            return "checkpoint" if folder else "assembling"
        if folder.startswith("inference"):
            return "evaluation"
        return "assembling" if not folder else "other files"

    def keep(self) -> "Diary":
        """Begin to write down what this process does."""
        from frcnn_alt.engine import AlternatingTrainer, StepTrainer
        from frcnn_alt.engine.manifest import FINISHED, Manifest
        from frcnn_alt.proposals import ProposalSetWriter

        for function in ("replace", "rename"):
            setattr(os, function, self._around_naming(getattr(os, function)))
        torch.save = self._around_saving(torch.save)
        self._before(StepTrainer, "run_step", "training", lambda t: f"{os.path.basename(t.cfg.OUTPUT_DIR)} {t.iter}")
        self._before(
            ProposalSetWriter, "add", "proposals", lambda w, *_: f"{self._name(w.path)}, image {len(w._counts or ())}"
        )
        self._before(AlternatingTrainer, "_evaluate", "evaluation", lambda *_: "begins")
        stock = Manifest.update_step

        def update_step(manifest: Manifest, name: str, **values: Any) -> None:
            stock(manifest, name, **values)
            if values.get("state") == FINISHED:
                self.note("between steps", name)

        Manifest.update_step = update_step
        return self

    def _before(self, owner: type, name: str, phase: str, detail: Callable[..., str]) -> None:
        stock = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.note(phase, detail(*args))
            return stock(*args, **kwargs)

        setattr(owner, name, noted)

    def _around_naming(self, stock: Callable[..., None]) -> Callable[..., None]:
        def named(source: Any, target: Any, **kwargs: Any) -> None:
            name = self._name(target)
            if name is not None:
                self.note(self._phase(name), f"{name} is about to get its name")
            stock(source, target, **kwargs)
            if name is not None:
                self.note(self._phase(name), f"{name} has its name")

        return named

    def _around_saving(self, stock: Callable[..., None]) -> Callable[..., None]:
        def saved(data: Any, file: Any, *args: Any, **kwargs: Any) -> None:
            name = self._name(getattr(file, "name", file))
            if name is None:
                stock(data, file, *args, **kwargs)
                return
            phase, detail = self._phase(name.replace(".partial", "")), f"{name} is half written"
            if (phase, detail) == self.target:
                whole = io.BytesIO()
                stock(data, whole, *args, **kwargs)
                file.write(whole.getvalue()[: whole.tell() // 2])
                file.flush()
            self.note(phase, detail)
            stock(data, file, *args, **kwargs)

        return saved


if os.environ.get(DIARY):  # named by --import, in each process of a command of several: the main one keeps the diary
    from detectron2.utils import comm

    if comm.is_main_process():
        path, folder, *point = os.environ[DIARY].split("\n")
        Diary(Path(path), folder, tuple(point[0].split("\t")) if point else None).keep()
