"""Evaluation while a step is trained, every TEST.EVAL_PERIOD iterations, which leaves the training as it was.

An RPN step is evaluated by the recall of its proposals, a detector by its AP. What is measured goes where detectron2
puts it: to the log, metrics.json and TensorBoard.
"""

import contextlib
import logging
import os
import random
import shutil
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import EvalHook, PreciseBN
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from torch import nn

__all__ = ["PeriodicEvaluation", "undisturbed", "with_periodic_evaluation"]

logger = logging.getLogger(__name__)

# Of the step's folder; what evaluators write there is removed again.
_FOLDER = "evaluation_in_training"
# What is said of a network in the log, of all that was measured.
_HEADLINES = ("recall50@300", "recall70@300", "AR@300", "AP50", "AP")


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put back every random generator that an evaluation may draw from, and each module's training mode.

    detectron2's evaluation sets all modules to the mode of the outermost one, also those that are held in the other.
    """
    modes = [(module, module.training) for module in model.modules()]
    of_python, of_numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for module, mode in modes:
            module.training = mode


class PeriodicEvaluation(EvalHook):
    """Evaluates in test mode on DATASETS.TEST every TEST.EVAL_PERIOD iterations; on all processes.

    Not after the last iteration, as detectron2's hook does: when its step has ended, the proposals of an RPN are
    measured anyway, and so is the final network. (A Fast R-CNN step that is not the last has no figure of its end.)

    Args:
        trainer: with detectron2's ``test``; its config is read.
        writers: of metrics, on the main process. They are called here as well, because they keep of every figure the
            latest value alone: of two evaluations between two of their own turns, one would be lost.
    """

    def __init__(self, trainer: DefaultTrainer, writers: Sequence[EventWriter] = ()):
        # The losses of an iteration are printed once, in turn.
        self.writers = [writer for writer in writers if not isinstance(writer, CommonMetricPrinter)]
        self.cfg: CfgNode = trainer.cfg.clone()
        self.cfg.defrost()
        self.cfg.OUTPUT_DIR = os.path.join(trainer.cfg.OUTPUT_DIR, _FOLDER)
        self.cfg.TEST.EXPECTED_RESULTS = []  # they are those of the trained network
        super().__init__(self.cfg.TEST.EVAL_PERIOD, self.evaluate)

    def before_train(self) -> None:
        self._remove_files()  # of a training that was killed

    def evaluate(self) -> Dict[str, Any]:
        """What detectron2's ``test`` returns, with the headlines of it in the log; {} on other processes."""
        model = self.trainer.unwrapped_model  # without DistributedDataParallel: processes differ in numbers of images
        try:
            with undisturbed(model):
                results = self.trainer.test(self.cfg, model)
        finally:
            self._remove_files()
        flat = flatten_results_dict(results or {})
        shown = {name: round(value, 1) for name, value in flat.items() if name.rpartition("/")[2] in _HEADLINES}
        if shown:
            logger.info("After iteration %d of %d: %s", self.trainer.iter + 1, self.trainer.max_iter, shown)
        return results

    def _do_eval(self) -> None:
        super()._do_eval()
        for writer in self.writers:
            writer.write()

    def after_train(self) -> None:
        del self._func  # as detectron2's: it is a method of this, and would keep the trainer alive

    def _remove_files(self) -> None:
        if comm.is_main_process():
            shutil.rmtree(self.cfg.OUTPUT_DIR, ignore_errors=True)


def with_periodic_evaluation(
    stock: Iterable[Optional[HookBase]], trainer: DefaultTrainer, writers: Sequence[EventWriter] = ()
) -> List[HookBase]:
    """The hooks that detectron2 builds, with this module's evaluation, if any, in place of its own.

    Precise statistics of batch norms are measured after the last iteration alone: measured with each evaluation, they
    would come from other images at the end.
    """
    hooks: List[HookBase] = []
    for hook in stock:
        if isinstance(hook, PreciseBN):
            hook._period = 0
        if not isinstance(hook, EvalHook):
            hooks += [] if hook is None else [hook]  # detectron2 has None where there are no batch norms
        elif trainer.cfg.TEST.EVAL_PERIOD > 0 and trainer.cfg.DATASETS.TEST:
            hooks.append(PeriodicEvaluation(trainer, writers))
    return hooks
