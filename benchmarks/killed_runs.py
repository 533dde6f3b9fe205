"""Attempts at a miniature 4-step run that may be cut, and the fingerprint of a finished one; for `kill_resume.py`.

An attempt of one process is forked from this one, which has all imports behind it; one of several is the command as a
person types it. Either has a process group of its own, its loader workers included, and dies as a whole.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from frcnn_alt.checkpointing import hash_tensors, read_checkpoint
from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import default_argument_parser, main
from frcnn_alt.engine.failures import guarded
from frcnn_alt.report import final_table, write_report, write_tensorboard

import torch
from interrupted import DIARY, Diary, Event

__all__ = ["NEVER", "Command", "Moment", "fingerprint"]

ROOT = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN_LOOKS = 0.01


class Moment(NamedTuple):
    """When an attempt is cut: at a point of what it does, or so many seconds after its start; and by which signal."""

    point: Optional[Event] = None
    seconds: Optional[float] = None
    signal: int = signal.SIGKILL


NEVER = Moment()


class Command:
    """The command of a miniature run, on generated images.

    Args:
        folder: the images are written below it, once.
        iterations: of each step.
        period: iterations between checkpoints.
        workers: of the data loader.
        processes: of the training.

    Attributes:
        seconds: that the last attempt took.
    """

    def __init__(self, folder: Path, iterations: int, period: int, workers: int, processes: int):
        self.processes = processes
        self.seconds = 0.0
        images = folder / "shapes"
        if not images.exists():
            make_shapes(str(images), seed=1, num_trainval=6, num_test=4, size=(112, 84))
        self.words = ["--config-file", str(ROOT / "configs" / "demo" / "zf_4step_shapes.yaml"), "--resume"]
        self.words += ["--num-gpus", str(processes)] if processes > 1 else []
        self.words += ["--import", "interrupted"] if processes > 1 else []
        keys: Dict[str, Any] = {
            "MODEL.DEVICE": "cpu",
            "MODEL.WEIGHTS": "",
            "MODEL.BACKBONE.WIDTH_MULTIPLIER": 0.06,
            "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
            "MODEL.ANCHOR_GENERATOR.SIZES": "[[16, 32, 64]]",
            "INPUT.MIN_SIZE_TRAIN": "(84,)",
            "INPUT.MIN_SIZE_TEST": 84,
            "DATASETS.VOC_LAYOUT.ROOT": images,
            "DATALOADER.NUM_WORKERS": workers,
            "SOLVER.CHECKPOINT_PERIOD": period,
            "SEED": 3,
        }
        for number in range(1, 5):
            keys[f"SCHEDULE.STEP{number}.MAX_ITER"] = iterations
            keys[f"SCHEDULE.STEP{number}.STEPS"] = f"({iterations * 3 // 4},)"
            keys[f"SCHEDULE.STEP{number}.IMS_PER_BATCH"] = 2
        self.opts = [str(word) for pair in keys.items() for word in pair]

    @staticmethod
    def diary(run: Path) -> Path:
        """The file in which all attempts at a run write down what they do."""
        return run.with_suffix(".diary")

    def attempt(self, run: Path, moment: Moment = NEVER) -> int:
        """Begin the run, or go on with it, until it ends or is cut; returns its status, -signal if that ended it.

        Args:
            run: OUTPUT_DIR. What is printed goes to ``<run>.log``.
            moment: when to cut it.
        """
        run.parent.mkdir(parents=True, exist_ok=True)
        words = [*self.words, *self.opts, "OUTPUT_DIR", str(run)]
        with open(run.with_suffix(".log"), "a") as log:
            start = self._start_several if self.processes > 1 else self._start_forked
            pid = start(words, run, moment, log.fileno())
        began = time.monotonic()
        until = None if moment.seconds is None else began + moment.seconds
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.seconds = time.monotonic() - began
                return os.waitstatus_to_exitcode(status)
            if until is not None and time.monotonic() > until:
                os.killpg(pid, moment.signal)
                until = None
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _start_forked(self, words: List[str], run: Path, moment: Moment, log: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            os.setsid()
            os.dup2(log, 1)
            os.dup2(log, 2)
            torch.set_num_threads(1)
            Diary(self.diary(run), str(run), moment.point).keep()
            args = default_argument_parser().parse_args(words)
            status = guarded(lambda: main(args, _report))
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)

    def _start_several(self, words: List[str], run: Path, moment: Moment, log: int) -> int:
        about = [str(self.diary(run)), str(run), *(["\t".join(moment.point)] if moment.point else [])]
        environment = {
            **os.environ,
            DIARY: "\n".join(about),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(ROOT / "tools" / "train_net.py"), *words]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True).pid


def _report(run: str) -> None:
    write_tensorboard(run)
    write_report(run)
    print(final_table(run))


def _without_seconds(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_seconds(value) for key, value in data.items() if key != "seconds"}
    return data


def fingerprint(run: Path) -> Dict[str, str]:
    """What a finished run is known by: file -> hash of its tensors, of its bytes, or of its results."""
    found = {}
    for file in sorted(run.rglob("model_final.pth")):
        found[str(file.relative_to(run))] = hash_tensors(read_checkpoint(str(file))["model"])
    for file in sorted(run.glob("*/proposals/*/*")):
        found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    results = json.dumps(_without_seconds(json.loads((run / "results.json").read_text())), sort_keys=True)
    found["results.json"] = hashlib.sha256(results.encode()).hexdigest()
    return found
