"""Pre-training of the backbone with fc6 and fc7 as an image classifier: the weights that every step starts from.

The paper starts from ImageNet; this makes such weights on an ImageNet-layout folder, or, where there is no ImageNet, on
crops of the detection training split. The written file holds the detector's own parameter names, for MODEL.WEIGHTS.
"""

import datetime
import glob
import logging
import os
import sys
import time
from typing import Optional

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch.utils.data import DataLoader

from ..checkpointing import HASHES_FILE, CheckpointError, pixels_of_config, read_checkpoint, write_checkpoint
from ..data import begin_worker, seed_for
from ..modeling.classifier import BackboneClassifier
from .defaults import ConfigError
from .disk_space import require_disk_for_checkpoints
from .folder_lock import held_folder
from .pretrain_checks import pretraining_problems
from .pretrain_data import ClassificationData, open_classification_data, pretraining_hash
from .pretrain_init import initialize_from_images
from .pretrain_trainer import PretrainTrainer
from .processes import log_processes

__all__ = ["measure_accuracy", "pretrain", "working_folder"]

logger = logging.getLogger(__name__)


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
        worker_init_fn=begin_worker,
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
        ConfigError: no place to write to, or another process is at work there; an unusable mean image; keys that cannot
            be used or contradict each other.
        DatasetError: no data, malformed data, or a folder of another layout.
    """
    problems = pretraining_problems(cfg)
    if problems:
        raise ConfigError("\n".join(problems))
    output = output or cfg.MODEL.WEIGHTS
    if not output or "://" in output:
        raise ConfigError(f"Pre-trained weights cannot be written to {output!r}: give --output, or set MODEL.WEIGHTS")
    if os.path.isdir(output):
        raise ConfigError(f"Pre-trained weights cannot be written to {output}, a folder: name a file in it")
    log_processes()
    folder = working_folder(output)
    with held_folder(folder, "--output"):
        _pretrain_into(cfg, output, folder, resume, overwrite)
    return output


def _pretrain_into(cfg: CfgNode, output: str, folder: str, resume: bool, overwrite: bool) -> None:
    seed = max(cfg.SEED, 0)
    data = open_classification_data(cfg, seed)
    config_hash = pretraining_hash(cfg, seed, data)
    if not overwrite and _is_finished(output, config_hash):
        logger.info("%s is already there, made with this config and data; --overwrite makes it again", output)
        return
    comm.synchronize()  # no process may write before all have looked

    started = time.perf_counter()
    torch.manual_seed(seed_for(seed))
    model = BackboneClassifier(cfg, num_classes=len(data.classes))
    model.to(cfg.MODEL.DEVICE)
    require_disk_for_checkpoints(model, folder)
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
            **pixels_of_config(cfg),
            "classes": data.classes,
            "accuracy": accuracy,
            "command": list(sys.argv),  # a run that starts from these weights cannot be repeated without it
        }
        # "__author__" makes detectron2 take the names as they are
        content = {"model": model.detector_state_dict(), "__author__": "frcnn_alt", "frcnn_alt": about}
        write_checkpoint(content, output)
        names = ("*.pth", "last_checkpoint", HASHES_FILE)
        for path in [path for name in names for path in glob.glob(os.path.join(glob.escape(folder), name))]:
            os.remove(path)  # of no more use, and larger than the result
        took = datetime.timedelta(seconds=round(time.perf_counter() - started))
        measured = "" if accuracy is None else f", accuracy {accuracy:.1f}% on {len(data.test)} test images"
        logger.info("Wrote %s after %s%s", output, took, measured)
    comm.synchronize()
