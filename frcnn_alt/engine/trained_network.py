"""Which network a config means once its run has been: the trained one, wherever the run's folder lies now."""

import argparse
import contextlib
import os
from typing import Optional

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..checkpointing import CheckpointError, file_sha256
from ..safe_yaml import load_yaml_with_base
from .assemble import MEAN_IMAGE_FILE
from .defaults import ConfigError
from .manifest import Manifest
from .network import configure_network, is_of_a_part
from .schedule import build_schedule

__all__ = ["configure_final_network", "find_trained_network"]


def find_trained_network(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Set `cfg`'s weights, in place, to those of the network that ``--eval-only`` or a drawing of its boxes means.

    Of a training config that is the one its run made, not its initial weights; of a run's or a step's own config.yaml
    the one beside it, wherever the folder has been moved to, with the mean image that lies there. MODEL.WEIGHTS on the
    command line is left alone, and so is everything where no trained network is found; OUTPUT_DIR on the command line
    is, behind a config that lies beside its network, where results are to be written. The keys that build the network
    which the schedule ends with ("unshared", say) are set too.

    Args:
        cfg: of `setup_cfg`; OUTPUT_DIR, MODEL.WEIGHTS, MODEL.PIXEL_MEAN_IMAGE, PROPOSAL_FILES_TEST and what
            `configure_network` sets may change.
        args: the command line it was made of: ``config_file`` and ``opts``.

    Raises:
        CheckpointError: the network is not the file that its run wrote.
    """
    given = args.opts or []
    writes_elsewhere = "OUTPUT_DIR" in given
    run_folder = cfg.OUTPUT_DIR
    if args.config_file:
        run_folder = _follow_moved_step(cfg, args.config_file) or run_folder
        beside = os.path.dirname(os.path.abspath(args.config_file))
        if any(os.path.isfile(os.path.join(beside, name)) for name in ("manifest.json", "model_final.pth")):
            run_folder = beside
        copy = os.path.join(beside, MEAN_IMAGE_FILE)
        earlier = cfg.MODEL.PIXEL_MEAN_IMAGE if "MODEL.PIXEL_MEAN_IMAGE" not in given else ""
        if os.path.basename(earlier) == MEAN_IMAGE_FILE and os.path.isfile(copy):
            cfg.MODEL.PIXEL_MEAN_IMAGE = copy
    cfg.OUTPUT_DIR = cfg.OUTPUT_DIR if writes_elsewhere else run_folder
    finished = os.path.join(run_folder, "model_final.pth")
    if "MODEL.WEIGHTS" not in given and os.path.isfile(finished):
        _verify_written(finished)
        cfg.MODEL.WEIGHTS = finished
    configure_final_network(cfg)


def _verify_written(weights: str) -> None:
    """Compare a network, on the main process, with the sha256 that the manifest of its run has, if it has one."""
    folder, recorded = os.path.dirname(os.path.abspath(weights)), None
    with contextlib.suppress(ConfigError):  # a damaged manifest: nothing is known
        of_run, of_step = Manifest.read(folder), Manifest.read(os.path.dirname(folder))
        if of_run is not None:
            recorded = of_run.data.get("assembled", {}).get("sha256")
        elif of_step is not None:
            entries = [entry for entry in of_step.data["steps"] if entry["name"] == os.path.basename(folder)]
            recorded = entries[0].get("outputs", {}).get("model", {}).get("sha256") if entries else None
    if recorded and comm.is_main_process() and file_sha256(weights) != recorded:
        raise CheckpointError(
            f"{weights} is not the file that its run wrote: its sha256 is not that of manifest.json. The training "
            "command with --resume puts the final network together anew from its steps; to use the file as it is, "
            "name it on the command line: MODEL.WEIGHTS <file>."
        )


def configure_final_network(cfg: CfgNode) -> None:
    """Change `cfg`, in place, so that it builds the network with which its schedule ends; that of a part stays."""
    if cfg.TRAINER == "AlternatingTrainer" and not is_of_a_part(cfg):
        try:
            network = build_schedule(cfg).network
        except Exception:  # a schedule that is not at hand, or objects to something, matters to those who train
            return
        configure_network(cfg, network)


def _follow_moved_step(cfg: CfgNode, config_file: str) -> Optional[str]:
    """Find the proposals that a step's own config.yaml names where its run lies now; returns the step's folder.

    In the config both are as the run wrote them; None if it is no step's.
    """
    run_folder, step = os.path.split(os.path.dirname(os.path.abspath(config_file)))
    written = str(load_yaml_with_base(config_file).get("OUTPUT_DIR", ""))  # the command line may have another one
    earlier_run_folder, earlier_step = os.path.split(os.path.abspath(written))
    if step != earlier_step or not os.path.isfile(os.path.join(run_folder, "manifest.json")):
        return None
    files = []
    for file in cfg.DATASETS.PROPOSAL_FILES_TEST:
        inside = os.path.relpath(os.path.abspath(file), earlier_run_folder)
        files.append(file if inside.startswith(os.pardir) else os.path.join(run_folder, inside))
    cfg.DATASETS.PROPOSAL_FILES_TEST = tuple(files)
    return os.path.join(run_folder, step)
