"""What ``tools/train_net.py`` does, as functions, so that tests and other projects can call it.

People's mistakes (a wrong path, a typo in a key, bad data) end in one message and exit status 2, without a traceback;
`FRCNN_ALT_TRACEBACK=1` in the environment shows it (`guarded`).
"""

import argparse
import contextlib
import functools
import logging
import os
from typing import Callable, List, Optional

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm
from tabulate import tabulate

from ..checkpointing import CheckpointError, load_whole_network, missing_files, pixels_of_config
from ..data import check_datasets, class_names_of, forget_skipped_images
from .checks import check_config
from .defaults import ConfigError, default_setup, setup_cfg
from .evaluates import skipped_in_evaluation
from .failures import guarded
from .folder_lock import held_folder
from .manifest import Manifest, write_json
from .output_folder import tidied_if_refused
from .plan import Plan, refuse_to_start
from .processes import log_processes, run_on_processes
from .restart import files_of_training, remove
from .stored_proposals import check_proposal_sets
from .trained_network import find_trained_network
from .trainer_registry import TRAINER_REGISTRY, build_trainer

__all__ = ["main", "run_command_line"]

logger = logging.getLogger(__name__)

_EVAL_ONLY = "eval_only"  # the folder that it writes into

# What tells that a folder holds a run, and what of it must not outlive the run.
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
    return guarded(functools.partial(run_on_processes, function, args), args=args)


def _left_by_a_run(cfg: CfgNode) -> List[str]:
    paths = [os.path.join(cfg.OUTPUT_DIR, name) for name in _A_RUNS_FILES]
    return [path for path in paths if os.path.exists(path)]


def _left_by_steps(output_dir: str) -> List[str]:
    """What in the folders of an earlier run's steps would pass for the new run's."""
    try:
        manifest = Manifest.read(output_dir)
    except ConfigError:  # damaged: it does not tell what its steps are called
        return []
    steps = manifest.data["steps"] if manifest is not None else []
    return [file for step in steps for file in files_of_training(os.path.join(output_dir, step["name"]))]


def _check_folder(cfg: CfgNode, args: argparse.Namespace, plan: Callable[[], Plan]) -> None:
    """Refuse to write over a run unasked; with --overwrite remove what would pass for the new run's results.

    Before, the new run is planned: one that cannot start leaves the old one as it is.
    """
    if args.resume:
        return
    left = _left_by_a_run(cfg)
    if left and not args.overwrite:
        raise ConfigError(
            f"{cfg.OUTPUT_DIR} holds a run already: --resume goes on with it (and does nothing twice), --overwrite "
            "begins anew, OUTPUT_DIR <folder> writes elsewhere."
        )
    if left:
        refuse_to_start(plan())
    # Also those of a training without steps, which has them in the folder itself.
    for path in dict.fromkeys([*left, *files_of_training(cfg.OUTPUT_DIR), *_left_by_steps(cfg.OUTPUT_DIR)]):
        remove(path)


def _which_network_instead(run_folder: str) -> str:
    """What to tell somebody who evaluates initial weights: where the trained network is, or that there is none."""
    finished = os.path.join(run_folder, "model_final.pth")
    if os.path.isfile(finished):
        return f" The trained network of this run is {finished}: leave MODEL.WEIGHTS out, and it is taken."
    if os.path.isfile(os.path.join(run_folder, "manifest.json")):
        return f" The run in {run_folder} is not finished: --resume goes on with it."
    return ""


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> None:
    if not cfg.MODEL.WEIGHTS or missing_files(cfg.MODEL.WEIGHTS):
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
    run_folder = cfg.OUTPUT_DIR
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, _EVAL_ONLY)
    cfg.freeze()
    with held_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR", what="another evaluation"):
        _evaluate_into(cfg, args, run_folder)


def _evaluate_into(cfg: CfgNode, args: argparse.Namespace, run_folder: str) -> None:
    if comm.is_main_process():  # that of an earlier evaluation, perhaps with other keys, is no run's
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    default_setup(cfg, args)
    log_processes()
    model = build_model(cfg)
    try:
        data_sets = class_names_of(cfg.DATASETS.TEST)
        not_used = load_whole_network(model, cfg.MODEL.WEIGHTS, pixels_of_config(cfg), data_sets)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_which_network_instead(run_folder)}") from error
    if not_used:
        logger.warning("%s: not used are %s", cfg.MODEL.WEIGHTS, ", ".join(not_used))
    forget_skipped_images()
    results = TRAINER_REGISTRY.get(cfg.TRAINER).test(cfg, model)
    skipped = skipped_in_evaluation()
    if comm.is_main_process():
        write_json({**results, **skipped}, os.path.join(cfg.OUTPUT_DIR, "results.json"))
        for task, values in results.items():
            rows = [(name, value) for name, value in values.items() if not isinstance(value, dict)]
            print(tabulate(rows, [task, "%"], floatfmt=".1f"))
        print(f"results and detections: {cfg.OUTPUT_DIR}")


def _as_resumed(args: argparse.Namespace) -> argparse.Namespace:
    """``--restart-from`` goes on with a run."""
    others = [flag for flag in ("overwrite", "eval_only") if getattr(args, flag, False)]
    if others:
        flag = others[0].replace("_", "-")
        raise ConfigError(f"--restart-from goes on with the run in OUTPUT_DIR, and does not go together with --{flag}.")
    return argparse.Namespace(**{**vars(args), "resume": True})


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
    restart_from = getattr(args, "restart_from", None) or ""
    if restart_from:
        args = _as_resumed(args)
    cfg = setup_cfg(args)
    if args.eval_only:
        find_trained_network(cfg, args)
        with tidied_if_refused(os.path.join(cfg.OUTPUT_DIR, _EVAL_ONLY)):
            _evaluate(cfg, args)
        return 0
    trainer = build_trainer(cfg, resume=args.resume)
    if restart_from:
        if not hasattr(trainer, "restart_from"):
            raise ConfigError(f"--restart-from {restart_from}: TRAINER {cfg.TRAINER} has no steps.")
        trainer.restart_from = restart_from
    trainer.config_file = " + ".join(file for file in (args.config_file, *getattr(args, "overlay", [])) if file)
    if os.path.exists(cfg.OUTPUT_DIR) and not os.path.isdir(cfg.OUTPUT_DIR):
        raise ConfigError(f"OUTPUT_DIR {cfg.OUTPUT_DIR} is a file; name a folder.")
    if args.dry_run:
        plan = trainer.plan()
        if _left_by_a_run(cfg) and not (args.resume or args.overwrite):
            plan.remarks.append(
                f"{cfg.OUTPUT_DIR} holds a run already: --resume goes on with it, --overwrite begins anew."
            )
        print(plan)
        return 1 if plan.problems else 0
    with tidied_if_refused(cfg.OUTPUT_DIR), held_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR"):
        if comm.is_main_process():
            _check_folder(cfg, args, trainer.plan)
        comm.synchronize()
        cfg.freeze()
        default_setup(cfg, args)
        log_processes()
        trainer.train()
        if after_training is not None and comm.is_main_process():
            after_training(cfg.OUTPUT_DIR)
    return 0
