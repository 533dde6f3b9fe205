"""What ``tools/train_net.py`` does, as functions, so that tests and other projects can call it.

People's mistakes (a wrong path, a typo in a key, bad data) end in one message and exit status 2, without a traceback;
`FRCNN_ALT_TRACEBACK=1` in the environment shows it.
"""

import argparse
import os
import sys
from typing import Callable, Dict, Optional

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.modeling import build_model
from detectron2.utils import comm

from ..checkpointing import CheckpointError
from ..data import DatasetError
from ..proposals import ProposalSetError
from .checks import check_config
from .defaults import ConfigError, default_setup, setup_cfg
from .manifest import Manifest
from .trainer_registry import TRAINER_REGISTRY, build_trainer

__all__ = ["main", "run_command_line"]

_USERS_MISTAKES = (ConfigError, DatasetError, CheckpointError, ProposalSetError)


def run_command_line(function: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run ``function(args)`` on the processes that detectron2's flags ask for; returns the exit status.

    One process is run directly, without detectron2's ``launch``, which wants CUDA.
    """
    try:
        if args.num_gpus * args.num_machines <= 1:
            return function(args)
        launch(
            function,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
        return 0
    except _USERS_MISTAKES as error:
        if os.environ.get("FRCNN_ALT_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130


def _refuse_finished_folder(cfg: CfgNode, args: argparse.Namespace) -> None:
    if args.resume or args.overwrite:
        return
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "manifest.json")):
        raise ConfigError(
            f"{cfg.OUTPUT_DIR} holds a run already: --resume goes on with it (and does nothing twice), --overwrite "
            "begins anew, OUTPUT_DIR <folder> writes elsewhere."
        )


def _weights_for_evaluation(cfg: CfgNode, args: argparse.Namespace) -> None:
    """--eval-only of a training config means the network which that config's run made, not its ImageNet weights."""
    finished = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    if "MODEL.WEIGHTS" not in (args.opts or []) and os.path.isfile(finished):
        cfg.MODEL.WEIGHTS = finished


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> Dict:
    _weights_for_evaluation(cfg, args)
    if not os.path.isfile(cfg.MODEL.WEIGHTS):
        raise ConfigError(f"--eval-only needs a trained network; MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} does not exist.")
    problems = check_config(cfg)
    if problems:
        raise ConfigError("\n".join(problems))
    # The folder's config.yaml belongs to the run that trained there.
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "eval_only")
    cfg.freeze()
    default_setup(cfg, args)
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return TRAINER_REGISTRY.get(cfg.TRAINER).test(cfg, model)


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
    if args.dry_run:
        plan = build_trainer(cfg).plan()
        print(plan)
        return 1 if plan.problems else 0
    _refuse_finished_folder(cfg, args)
    cfg.freeze()
    if args.overwrite and not args.resume and comm.is_main_process() and Manifest.read(cfg.OUTPUT_DIR):
        os.remove(os.path.join(cfg.OUTPUT_DIR, "manifest.json"))
    default_setup(cfg, args)
    trainer = build_trainer(cfg, resume=args.resume)
    trainer.train()
    if after_training is not None and comm.is_main_process():
        after_training(cfg.OUTPUT_DIR)
    return 0
