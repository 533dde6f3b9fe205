"""The loop of pre-training: detectron2's SimpleTrainer over a classifier, seeded by iteration and resumable."""

import datetime
import logging
import os
import weakref
from typing import Any, Dict, Iterator, List, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer, create_ddp_model, hooks
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, get_event_storage
from torch.utils.data import DataLoader

from ..checkpointing import SafeCheckpointer, checkpoint_to_resume
from ..data import begin_worker, seed_for
from ..modeling.classifier import BackboneClassifier
from .defaults import ConfigError
from .hooks import NewestCheckpointer
from .nonfinite import FiniteGuard
from .pretrain_data import ClassificationData
from .stopping import StopRequest, StopTraining, stops_after_iteration
from .writers import naming_writers

__all__ = ["PretrainTrainer"]

logger = logging.getLogger(__name__)


class ProgressPrinter(EventWriter):
    """Logs a line with loss, accuracy (both medians of 20 iterations), learning rate, speed, and the time left."""

    def __init__(self, max_iter: int):
        self.max_iter = max_iter

    def write(self) -> None:
        storage = get_event_storage()
        history = storage.histories()
        if storage.iter >= self.max_iter or "time" not in history:  # "time" exists from the third iteration on
            return
        seconds = history["time"].median(1000)
        left = datetime.timedelta(seconds=round(seconds * (self.max_iter - storage.iter - 1)))
        logger.info(
            f"pre-training {storage.iter + 1}/{self.max_iter}  loss {history['total_loss'].median(20):.3f}  "
            f"accuracy {100 * history['accuracy'].median(20):.1f}%  lr {history['lr'].latest():.5g}  "
            f"{seconds:.3f} s/iteration  {left} left, until {datetime.datetime.now() + left:%H:%M:%S}"
        )


def _solver_config(cfg: CfgNode) -> CfgNode:
    """A copy of `cfg` whose SOLVER says what PRETRAIN says, for detectron2's own optimizer and scheduler."""
    cfg = cfg.clone()
    cfg.defrost()
    for key in ("MAX_ITER", "STEPS", "BASE_LR", "MOMENTUM", "WEIGHT_DECAY"):
        cfg.SOLVER[key] = cfg.PRETRAIN[key]
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
    # a new network's first gradients are its largest, and some of them far larger than the others
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "norm"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 2.0
    cfg.SOLVER.WARMUP_ITERS = max(1, cfg.PRETRAIN.MAX_ITER // 20)
    cfg.SOLVER.WARMUP_FACTOR = 0.1
    return cfg


class PretrainTrainer(SimpleTrainer):
    """Trains a BackboneClassifier; iteration i draws the same images and dropout whatever ran before.

    Args:
        cfg: reads PRETRAIN.*, SOLVER.{GAMMA, BIAS_LR_FACTOR, CHECKPOINT_PERIOD}, DATALOADER.NUM_WORKERS.
        model: on its device; put into DistributedDataParallel here when there are several processes.
        data: the classification set.
        seed: of all that is drawn.
        config_hash: a checkpoint of another hash is not resumed.
        folder: for metrics and checkpoints.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: BackboneClassifier,
        data: ClassificationData,
        seed: int,
        config_hash: str,
        folder: str,
    ):
        world_size = comm.get_world_size()
        self.batch_size = cfg.PRETRAIN.BATCH_SIZE
        if self.batch_size % world_size:
            raise ConfigError(
                f"PRETRAIN.BATCH_SIZE {self.batch_size} must be a multiple of the number of processes, {world_size}"
            )
        self.seed = seed
        self.config_hash = config_hash
        self._data = data
        self._num_workers = cfg.DATALOADER.NUM_WORKERS
        model = create_ddp_model(model)
        solver = _solver_config(cfg)
        super().__init__(model, self._batches(), build_optimizer(solver, model))
        self.max_iter = cfg.PRETRAIN.MAX_ITER
        self.checkpointer = SafeCheckpointer(model, folder, trainer=weakref.proxy(self))
        trainer = weakref.proxy(self)
        self.guard = FiniteGuard(
            self,
            self.checkpointer.model,
            self.checkpointer,
            skips=cfg.SOLVER.NONFINITE_SKIPS,
            learning_rate="PRETRAIN.BASE_LR",
            name_images=lambda iteration: trainer.names_of(iteration),
        )
        self.register_hooks(
            [
                hooks.IterationTimer(),
                hooks.LRScheduler(self.optimizer, build_lr_scheduler(solver, self.optimizer)),
            ]
        )
        self._stop_request = StopRequest()
        checkpoints = NewestCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
        if comm.is_main_process():
            self.register_hooks([checkpoints])
        stop = StopTraining(self._stop_request, "pre-training", checkpoints if comm.is_main_process() else None)
        self.register_hooks([stop])
        if comm.is_main_process():
            writers = naming_writers(folder, lambda: [JSONWriter(os.path.join(folder, "metrics.json"))])
            self.register_hooks([hooks.PeriodicWriter([ProgressPrinter(self.max_iter), *writers], period=20)])

    def _batches(self) -> Iterator[Tuple[torch.Tensor, torch.Tensor]]:
        """This process's share of each batch from the first iteration on; starts when the first one is asked for."""
        rank, world_size = comm.get_rank(), comm.get_world_size()
        positions = range(self.start_iter * self.batch_size + rank, self.max_iter * self.batch_size, world_size)
        yield from DataLoader(
            self._data.train,
            sampler=positions,
            batch_size=self.batch_size // world_size,
            num_workers=self._num_workers,
            worker_init_fn=begin_worker,
            # of its own: starting the loader draws a number, in the first iteration of a resumed run too
            generator=torch.Generator(),
        )

    def train(self, start_iter: int, max_iter: int) -> None:
        """Train from one iteration to before another.

        Raises:
            Stopped: SIGINT or SIGTERM came; there is a checkpoint of the iteration in which it did.
        """
        with stops_after_iteration(self._stop_request):
            super().train(start_iter, max_iter)

    def names_of(self, iteration: int) -> List[str]:
        """Files of this process's images of an iteration, as far as the data can tell."""
        first, world_size = iteration * self.batch_size + comm.get_rank(), comm.get_world_size()
        positions = range(first, (iteration + 1) * self.batch_size, world_size)
        file_of = getattr(self._data.train, "file_of", None)
        return [file_of(position) for position in positions] if file_of else []

    def run_step(self) -> None:
        """One iteration; dropout is drawn from the seed, the iteration and the process's rank."""
        seed = seed_for(self.seed, self.iter, comm.get_rank())
        torch.manual_seed(seed)
        with self.guard.iteration(self.iter, seed):
            super().run_step()

    def resume(self) -> int:
        """Load the last checkpoint, if there is one and it is as it was written; returns the iteration to begin with.

        Raises:
            ConfigError: the checkpoint was made with another config or other data.
        """
        if not checkpoint_to_resume(self.checkpointer.save_dir):
            logger.info("Nothing to resume in %s: pre-training begins anew", self.checkpointer.save_dir)
            return 0
        self.checkpointer.resume_or_load("", resume=True)
        return self.iter + 1

    def state_dict(self) -> Dict[str, Any]:
        return {**super().state_dict(), "config_hash": self.config_hash, "guard": self.guard.state_dict()}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        if state_dict["config_hash"] != self.config_hash:
            raise ConfigError(
                f"{self.checkpointer.save_dir} holds pre-training with another config or other data: begin anew "
                "without --resume, or give the config it was begun with"
            )
        self.guard.load_state_dict(state_dict.get("guard", {}))
        super().load_state_dict(state_dict)
