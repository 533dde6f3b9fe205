"""What ``tools/train_net.py`` does, as functions, so that tests and other projects can call it.

People's mistakes (a wrong path, a typo in a key, bad data) end in one message and exit status 2, without a traceback;
`FRCNN_ALT_TRACEBACK=1` in the environment shows it (`guarded`).
"""

import argparse
import functools
import logging
import os
import shutil
from typing import Callable, Optional

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm
from tabulate import tabulate

from ..checkpointing import (
    check_pixels,
    fit_to_model,
    match_initial_weights,
    pixels_of_config,
    read_checkpoint,
    weight_files,
)
from ..data import check_datasets
from .checks import check_config
from .defaults import ConfigError, default_setup, setup_cfg
from .failures import guarded
from .manifest import write_json
from .processes import log_processes, run_on_processes
from .stored_proposals import check_proposal_sets
from .trained_network import find_trained_network
from .trainer_registry import TRAINER_REGISTRY, build_trainer

__all__ = ["main", "run_command_line"]

logger = logging.getLogger(__name__)

# What tells that a folder holds a run, and what of it must not outlive the run. Steps clear their own folders.
_A_RUNS_FILES = (
    "manifest.json",
    "last_checkpoint",
    "model_final.pth",
    "results.json",
    "inference",
    "report",
    "tensorboard",
)


def run_command_line(function: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run ``function(args)`` on the processes that the flags or torchrun ask for; returns the exit status.

    See `run_on_processes`; without several processes it is run directly, and so is a dry run.
    """
    return guarded(functools.partial(run_on_processes, function, args))


def _check_folder(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Refuse to write over a run unasked; with --overwrite remove what would pass for the new run's results."""
    if os.path.exists(cfg.OUTPUT_DIR) and not os.path.isdir(cfg.OUTPUT_DIR):
        raise ConfigError(f"OUTPUT_DIR {cfg.OUTPUT_DIR} is a file; name a folder.")
    try:
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be made: {error}.") from error
    if args.resume:
        return
    left = [os.path.join(cfg.OUTPUT_DIR, name) for name in _A_RUNS_FILES]
    left = [path for path in left if os.path.exists(path)]
    if left and not args.overwrite:
        raise ConfigError(
            f"{cfg.OUTPUT_DIR} holds a run already: --resume goes on with it (and does nothing twice), --overwrite "
            "begins anew, OUTPUT_DIR <folder> writes elsewhere."
        )
    for path in left:
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> None:
    find_trained_network(cfg, args)
    if not cfg.MODEL.WEIGHTS or not all(map(os.path.isfile, weight_files(cfg.MODEL.WEIGHTS))):
        raise ConfigError(f"--eval-only needs a trained network; MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} does not exist.")
    if not cfg.DATASETS.TEST:
        raise ConfigError("--eval-only has nothing to evaluate on: DATASETS.TEST is empty.")
    problems = check_config(cfg, trains=False)
    if not problems:
        check_datasets(cfg, cfg.DATASETS.TEST)
        problems = check_proposal_sets(cfg, "TEST")
    if problems:
        raise ConfigError("\n".join(problems))
    # The folder's own files belong to the run that trained there.
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "eval_only")
    cfg.freeze()
    default_setup(cfg, args)
    log_processes()
    model = build_model(cfg)
    checkpoint = fit_to_model(read_checkpoint(cfg.MODEL.WEIGHTS), model)
    check_pixels(checkpoint.get("frcnn_alt", {}), pixels_of_config(cfg), cfg.MODEL.WEIGHTS)
    state = checkpoint["model"]
    matched = match_initial_weights(model.state_dict(), {"": "the network"}, lambda source: state)
    if matched.not_found:
        names = matched.not_found["the network"]
        raise ConfigError(
            f"{cfg.MODEL.WEIGHTS} is no network of this config: it lacks {names[0]} and {len(names) - 1} more tensors."
        )
    not_used = [*checkpoint.get("frcnn_alt", {}).get("not_used", ()), *(set(state) - set(model.state_dict()))]
    if not_used:
        logger.warning("%s: not used are %s", cfg.MODEL.WEIGHTS, ", ".join(sorted(not_used)))
    model.load_state_dict(state, strict=False)
    results = TRAINER_REGISTRY.get(cfg.TRAINER).test(cfg, model)
    if comm.is_main_process():
        write_json(results, os.path.join(cfg.OUTPUT_DIR, "results.json"))
        for task, values in results.items():
            rows = [(name, value) for name, value in values.items() if not isinstance(value, dict)]
            print(tabulate(rows, [task, "%"], floatfmt=".1f"))
        print(f"results and detections: {cfg.OUTPUT_DIR}")


def main(args: argparse.Namespace, after_training: Optional[Callable[[str], None]] = None) -> int:
    """Plan, train or evaluate what `args` names.

    Args:
        args: of `default_argument_parser`.
        after_training: called on the main process with the run's folder, e.g. to write a report.

    Returns:
        int: 0; 1 when ``--dry-run`` found something to mend.

    Raises:
        ConfigError, DatasetError, CheckpointError, ProposalSetError: a mistake that the message says how to mend.
    """
    cfg = setup_cfg(args)
    if args.eval_only:
        _evaluate(cfg, args)
        return 0
    trainer = build_trainer(cfg, resume=args.resume)
    trainer.config_file = " + ".join(file for file in (args.config_file, *getattr(args, "overlay", [])) if file)
    if args.dry_run:
        plan = trainer.plan()
        print(plan)
        return 1 if plan.problems else 0
    if comm.is_main_process():
        _check_folder(cfg, args)
    comm.synchronize()
    cfg.freeze()
    default_setup(cfg, args)
    log_processes()
    trainer.train()
    if after_training is not None and comm.is_main_process():
        after_training(cfg.OUTPUT_DIR)
    return 0
