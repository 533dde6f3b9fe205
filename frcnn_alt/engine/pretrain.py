"""Pre-training of the backbone with fc6 and fc7 as an image classifier: the weights that every step starts from.

The paper starts from ImageNet; this makes such weights on an ImageNet-layout folder, or, where there is no ImageNet, on
crops of the detection training split. The written file holds the detector's own parameter names, for MODEL.WEIGHTS.
"""

import datetime
import glob
import logging
import os
import time
import weakref
from typing import Any, Dict, Iterator, Optional, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer, hooks
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, get_event_storage
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from ..checkpointing import CheckpointError, SafeCheckpointer, read_checkpoint, write_checkpoint
from ..data import seed_for
from ..modeling.classifier import BackboneClassifier
from .defaults import ConfigError
from .pretrain_data import ClassificationData, open_classification_data, pretraining_hash
from .pretrain_init import initialize_from_images

__all__ = ["PretrainTrainer", "measure_accuracy", "pretrain", "working_folder"]

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
        if world_size > 1:
            on_gpu = next(model.parameters()).device.type == "cuda"
            model = DistributedDataParallel(model, device_ids=[comm.get_local_rank()] if on_gpu else None)
        solver = _solver_config(cfg)
        super().__init__(model, self._batches(), build_optimizer(solver, model))
        self.max_iter = cfg.PRETRAIN.MAX_ITER
        self.checkpointer = SafeCheckpointer(model, folder, trainer=weakref.proxy(self))
        period = max(1, min(cfg.SOLVER.CHECKPOINT_PERIOD, self.max_iter // 4))  # also short runs can be resumed
        self.register_hooks(
            [
                hooks.IterationTimer(),
                hooks.LRScheduler(self.optimizer, build_lr_scheduler(solver, self.optimizer)),
            ]
        )
        if comm.is_main_process():
            writers = [ProgressPrinter(self.max_iter), JSONWriter(os.path.join(folder, "metrics.json"))]
            self.register_hooks(
                [
                    hooks.PeriodicCheckpointer(self.checkpointer, period, self.max_iter, max_to_keep=1),
                    hooks.PeriodicWriter(writers, period=20),
                ]
            )

    def _batches(self) -> Iterator[Tuple[torch.Tensor, torch.Tensor]]:
        """This process's share of each batch from the first iteration on; starts when the first one is asked for."""
        rank, world_size = comm.get_rank(), comm.get_world_size()
        positions = range(self.start_iter * self.batch_size + rank, self.max_iter * self.batch_size, world_size)
        yield from DataLoader(
            self._data.train,
            sampler=positions,
            batch_size=self.batch_size // world_size,
            num_workers=self._num_workers,
            worker_init_fn=_one_thread,
        )

    def run_step(self) -> None:
        """One iteration; dropout is drawn from the seed, the iteration and the process's rank."""
        torch.manual_seed(seed_for(self.seed, self.iter, comm.get_rank()))
        super().run_step()

    def resume(self) -> int:
        """Load the last checkpoint, if there is one; returns the iteration to begin with.

        Raises:
            ConfigError: the checkpoint was made with another config or other data.
        """
        if not self.checkpointer.has_checkpoint():
            logger.info("Nothing to resume in %s: pre-training begins anew", self.checkpointer.save_dir)
            return 0
        self.checkpointer.resume_or_load("", resume=True)
        return self.iter + 1

    def state_dict(self) -> Dict[str, Any]:
        return {**super().state_dict(), "config_hash": self.config_hash}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        if state_dict["config_hash"] != self.config_hash:
            raise ConfigError(
                f"{self.checkpointer.save_dir} holds pre-training with another config or other data: begin anew "
                "without --resume, or give the config it was begun with"
            )
        super().load_state_dict(state_dict)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)  # workers must not compete with the training process for its cores


@torch.no_grad()
def measure_accuracy(model: BackboneClassifier, cfg: CfgNode, data: ClassificationData) -> Optional[float]:
    """Return the share of test images classified right, in percent, over all processes; None without test images."""
    if data.test is None:
        return None
    rank, world_size = comm.get_rank(), comm.get_world_size()
    loader = DataLoader(
        data.test,
        sampler=range(rank, len(data.test), world_size),
        batch_size=max(1, cfg.PRETRAIN.BATCH_SIZE // world_size),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        worker_init_fn=_one_thread,
    )
    was_training = model.training
    model.eval()
    right = sum(int((model.logits(images).argmax(dim=1).cpu() == labels).sum()) for images, labels in loader)
    model.train(was_training)
    return 100 * sum(comm.all_gather(right)) / len(data.test)


def working_folder(output: str) -> str:
    """The folder beside `output` for its log, metrics and, until it is finished, checkpoints."""
    return os.path.splitext(output)[0] + ".pretrain"


def _is_finished(output: str, config_hash: str) -> bool:
    """Whether `output` was made with this config and data; raises ConfigError when it is something else."""
    if not os.path.exists(output):
        return False
    try:
        made_with = read_checkpoint(output).get("frcnn_alt", {}).get("config_hash")
    except CheckpointError:
        made_with = None
    if made_with != config_hash:
        raise ConfigError(
            f"{output} exists, and was not made with this config and data: choose another --output, or --overwrite it"
        )
    return True


def pretrain(cfg: CfgNode, output: str = "", *, resume: bool = False, overwrite: bool = False) -> str:
    """Pre-train backbone, fc6 and fc7 of `cfg` and write them; in every process when there are several.

    Args:
        cfg: reads PRETRAIN.*, MODEL, INPUT, DATASETS and SEED (below 0 counts as 0: a run can be repeated).
        output: file to write, "" for MODEL.WEIGHTS. ``{"model": {detector's name: tensor}, "frcnn_alt": {...}}``.
        resume: go on from the last checkpoint beside `output`.
        overwrite: replace an existing `output`, which else is kept if of this config, and refused if not.

    Returns:
        str: the file.

    Raises:
        ConfigError: no place to write to, or keys that contradict each other.
        FileNotFoundError: the ImageNet-layout folder is missing or of another layout.
    """
    output = output or cfg.MODEL.WEIGHTS
    if not output or "://" in output:
        raise ConfigError(f"Pre-trained weights cannot be written to {output!r}: give --output, or set MODEL.WEIGHTS")
    seed = max(cfg.SEED, 0)
    data = open_classification_data(cfg, seed)
    config_hash = pretraining_hash(cfg, seed, data)
    if not overwrite and _is_finished(output, config_hash):
        logger.info("%s is already there, made with this config and data; --overwrite makes it again", output)
        return output
    comm.synchronize()  # no process may write before all have looked
    folder = working_folder(output)
    os.makedirs(folder, exist_ok=True)

    started = time.perf_counter()
    torch.manual_seed(seed_for(seed))
    model = BackboneClassifier(cfg, num_classes=len(data.classes))
    model.to(cfg.MODEL.DEVICE)
    step = -(-cfg.PRETRAIN.BATCH_SIZE // 64)  # some dozens, spread over the first batch, which has one image size
    first = [data.train[position][0] for position in range(0, cfg.PRETRAIN.BATCH_SIZE, step)]
    initialize_from_images(model, torch.stack(first))
    trainer = PretrainTrainer(cfg, model, data, seed, config_hash, folder)
    start_iter = trainer.resume() if resume else 0
    if start_iter < trainer.max_iter:
        trainer.train(start_iter, trainer.max_iter)

    accuracy = measure_accuracy(model, cfg, data)
    if comm.is_main_process():
        about = {
            "config_hash": config_hash,
            "input_format": cfg.INPUT.FORMAT,
            "pixel_mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
            "pixel_std": [float(value) for value in cfg.MODEL.PIXEL_STD],
            "classes": data.classes,
            "accuracy": accuracy,
        }
        # "__author__" makes detectron2 take the names as they are
        content = {"model": model.detector_state_dict(), "__author__": "frcnn_alt", "frcnn_alt": about}
        write_checkpoint(content, output)
        for path in [*glob.glob(os.path.join(folder, "*.pth")), os.path.join(folder, "last_checkpoint")]:
            os.remove(path)  # of no more use, and larger than the result
        took = datetime.timedelta(seconds=round(time.perf_counter() - started))
        measured = "" if accuracy is None else f", accuracy {accuracy:.1f}% on {len(data.test)} test images"
        logger.info("Wrote %s after %s%s", output, took, measured)
    comm.synchronize()
    return output
