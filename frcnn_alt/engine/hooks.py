"""Hooks of a schedule's steps: where the whole run stands, which checkpoint is kept; and a step's own log file."""

import contextlib
import datetime
import logging
import os
import time
from typing import Any, Dict, Iterator, List, Sequence

from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicCheckpointer
from detectron2.utils import comm

from ..safe_write import make_folder
from .manifest import FINISHED, GIVEN
from .writers import LogFile

__all__ = ["PROPOSALS", "NewestCheckpointer", "ScheduleProgress", "step_log"]

PROPOSALS = "proposals"  # in the place of a kind of step: the seconds that the proposals of one image take

logger = logging.getLogger(__name__)


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


class ScheduleProgress(HookBase):
    """Logs every `period` seconds which step of how many runs, and when this step and the whole run will end.

    What is still to come is judged by the seconds per image measured so far: trainings by one of the same kind where
    one has run, else by this one; proposals and the evaluation by the last proposals, else by this training, whose
    images cost more.

    Args:
        steps: plan entries of all steps, in order; "proposal_images" tells how many images a step proposes for.
        current: index of the step that this hook is for.
        seconds_per_image: kind of step, or `PROPOSALS` -> measured seconds per image; shared by the hooks of a run.
        evaluation_images: of the final network.
        left_out: names of steps that this run neither trains nor is given.
        period: seconds between two messages.
    """

    def __init__(
        self,
        steps: List[Dict],
        current: int,
        seconds_per_image: Dict[str, float],
        evaluation_images: int = 0,
        left_out: Sequence[str] = (),
        period: float = 20.0,
    ):
        self.steps = steps
        self.current = current
        self.seconds_per_image = seconds_per_image
        self.evaluation_images = evaluation_images
        self.left_out = left_out
        self.period = period

    def before_train(self) -> None:
        self._began = self._last = time.perf_counter()

    def after_step(self) -> None:
        now = time.perf_counter()
        done = self.trainer.iter + 1 - self.trainer.start_iter
        entry = self.steps[self.current]
        self.seconds_per_image[entry["kind"]] = (now - self._began) / (done * entry["ims_per_batch"])
        if now - self._last < self.period:
            return
        self._last = now
        left = self._training(entry, entry["max_iter"] - self.trainer.iter - 1) + self._proposals(entry)
        later = [
            step
            for step in self.steps[self.current + 1 :]
            if step.get("state") not in (FINISHED, GIVEN) and step["name"] not in self.left_out
        ]
        after = sum(self._training(step, step["max_iter"]) + self._proposals(step) for step in later)
        after += self.evaluation_images * self._rate(PROPOSALS)
        end = datetime.datetime.now() + datetime.timedelta(seconds=left + after)
        logger.info(
            "step %d of %d (%s), iteration %d of %d: this step ends in %s, the run in %s, at about %s",
            self.current + 1,
            len(self.steps),
            entry["name"],
            self.trainer.iter + 1,
            entry["max_iter"],
            _clock(left),
            _clock(left + after),
            end.strftime("%H:%M"),
        )

    def _rate(self, kind: str) -> float:
        return self.seconds_per_image.get(kind, self.seconds_per_image[self.steps[self.current]["kind"]])

    def _training(self, entry: Dict, iterations: int) -> float:
        return iterations * entry["ims_per_batch"] * self._rate(entry["kind"])

    def _proposals(self, entry: Dict) -> float:
        return entry.get("proposal_images", 0) * self._rate(PROPOSALS)


class NewestCheckpointer(PeriodicCheckpointer):
    """detectron2's hook, which keeps the newest checkpoint alone, and the final one alone after the last iteration.

    A checkpoint holds the optimizer besides the network (1 GB for VGG-16), and a resume goes on from the newest. Short
    trainings are saved more often than the period says, so that one that is cut never loses more than a quarter of it.
    """

    @classmethod
    def in_place_of(cls, hook: HookBase) -> HookBase:
        """Return a hook of this class for detectron2's own, any other hook as it is."""
        return cls(hook.checkpointer, hook.period) if type(hook) is PeriodicCheckpointer else hook

    def before_train(self) -> None:
        super().before_train()
        self.period = max(1, min(self.period, self.max_iter // 4))
        self.max_to_keep = 1
        if self.checkpointer.has_checkpoint():  # what a resumed training goes on from
            self.recent_checkpoints = [self.checkpointer.get_checkpoint_file()]

    def step(self, iteration: int, **kwargs: Any) -> None:
        """As the stock hook; a training that begins anew may write the very file that it found, and that stays."""
        name = os.path.join(self.checkpointer.save_dir, f"{self.file_prefix}_{int(iteration):07d}.pth")
        self.recent_checkpoints = [path for path in self.recent_checkpoints if path != name]
        super().step(iteration, **kwargs)

    def save_now(self) -> str:
        """Write a checkpoint of this iteration, unless it has one; returns its file."""
        iteration, period = self.trainer.iter, self.period
        is_saved = (iteration + 1) % period == 0 or iteration >= self.max_iter - 1
        if not is_saved:
            self.period = 1
            try:
                self.step(iteration)
            finally:
                self.period = period
        return self.checkpointer.get_checkpoint_file()

    def after_train(self) -> None:
        final = os.path.join(self.checkpointer.save_dir, f"{self.file_prefix}_final.pth")
        if self.checkpointer.get_checkpoint_file() != final:
            return  # cut before the end
        for path in self.recent_checkpoints:
            if path != final and os.path.isfile(path):
                os.remove(path)


@contextlib.contextmanager
def step_log(output_dir: str) -> Iterator[None]:
    """Besides the run's log, write what is logged meanwhile to ``log.txt`` of the step's own folder."""
    if not comm.is_main_process():
        yield
        return
    make_folder(output_dir)
    handler = LogFile(os.path.join(output_dir, "log.txt"))
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%m/%d %H:%M:%S"))
    names = ("detectron2", "fvcore", "frcnn_alt")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
