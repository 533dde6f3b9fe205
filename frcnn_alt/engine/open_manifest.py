"""The manifest of a run that begins, or that is gone on with: what the plan says, and how much there is to do."""

import os
import sys
from typing import Any, Dict, Optional

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils import comm

from ..data import load_dataset_dicts
from .defaults import ConfigError
from .manifest import GIVEN, PENDING, RUNNING, Manifest, command_of_weights
from .plan import Plan
from .restart import forget_from, number_of_step, remove_from
from .schedule import Schedule
from .step import recomputes_flipped_images
from .step_selection import Selection

__all__ = ["earlier_manifest", "open_manifest"]


def earlier_manifest(output_dir: str, schedule: Schedule) -> Optional[Manifest]:
    """Read the manifest of the run in `output_dir`; None where there is none.

    Raises:
        ConfigError: it is damaged, or that of a run of other steps.
    """
    manifest = Manifest.read(output_dir)
    if manifest is not None:
        names = [entry["name"] for entry in manifest.data["steps"]]
        if names != [step.name for step in schedule.steps]:
            raise ConfigError(
                f"{output_dir} holds a run of other steps: {', '.join(names)}. Choose another OUTPUT_DIR."
            )
    return manifest


def open_manifest(
    cfg: CfgNode,
    schedule: Schedule,
    selection: Selection,
    plan: Plan,
    *,
    resume: bool,
    config_file: str,
    restart_from: str = "",
) -> Manifest:
    """Return the manifest of the run to resume, or of the new one: the main process's, on every process.

    Args:
        cfg: the run's config.
        schedule: its schedule.
        selection: what becomes of each step.
        plan: without problems.
        resume: whether a run that is in OUTPUT_DIR is gone on with.
        config_file: what `cfg` was read from.
        restart_from: with `resume`, the step from which on all are made anew; what they left is removed.
    """
    comm.synchronize()  # a process that still plans would take the new manifest for an earlier run's
    manifest = None
    if comm.is_main_process():
        manifest = earlier_manifest(cfg.OUTPUT_DIR, schedule) if resume else None
        number = number_of_step(schedule, restart_from) if restart_from and manifest is not None else 0
        if manifest is None:
            manifest = _begin(cfg, schedule, selection, plan, config_file)
        else:
            manifest = _go_on(forget_from(manifest, number, cfg) if number else manifest, selection, plan)
            if number:
                manifest.data.update(_origin(cfg, schedule, selection, config_file))
        _count_images(cfg, schedule, selection, manifest)
        manifest.write()
        if number:
            remove_from(manifest, number)
    return comm.all_gather(manifest)[0]


def _entry_to_begin_with(planned: Dict[str, Any], selection: Selection) -> Dict[str, Any]:
    """What is given counts as such when all of it is there: a run that is cut before goes on with making it."""
    given = selection.given.get(planned["name"])
    return planned if given is None else {**planned, "state": PENDING, "given": given.for_manifest}


def _origin(cfg: CfgNode, schedule: Schedule, selection: Selection, config_file: str) -> Dict[str, Any]:
    """What the run was made of, for those who want to repeat it."""
    starts_from_weights = bool(cfg.MODEL.WEIGHTS) and selection.starts_from_weights(schedule)
    weights_command = command_of_weights(cfg.MODEL.WEIGHTS) if starts_from_weights else None
    return {"config_file": config_file, "weights_command": weights_command}


def _begin(cfg: CfgNode, schedule: Schedule, selection: Selection, plan: Plan, config_file: str) -> Manifest:
    seed = cfg.SEED if cfg.SEED >= 0 else int(np.random.randint(2**31))
    name = os.path.basename(os.path.normpath(cfg.OUTPUT_DIR))
    entries = [_entry_to_begin_with(entry, selection) for entry in plan.steps]
    manifest = Manifest.new(cfg.OUTPUT_DIR, name, cfg.SCHEDULE.NAME, seed, entries)
    manifest.data.update(_origin(cfg, schedule, selection, config_file))
    return manifest


def _go_on(manifest: Manifest, selection: Selection, plan: Plan) -> Manifest:
    manifest.data.setdefault("resumed_by", []).append(sys.argv)
    for old, new in zip(manifest.data["steps"], plan.steps):
        trained, given = old["name"] in selection.trained, old["name"] in selection.given
        if old["state"] == PENDING or (old["state"] == GIVEN and trained) or (old["state"] == RUNNING and given):
            old.clear()
            old.update(_entry_to_begin_with(new, selection))
        elif old["state"] == GIVEN and given:
            old["started_from"] = new["started_from"]
    return manifest


def _count_images(cfg: CfgNode, schedule: Schedule, selection: Selection, manifest: Manifest) -> None:
    """Note how much there is to do besides training: the end time needs it."""
    size = {name: len(load_dataset_dicts(name)) for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)}
    flipped = sum(size[name] for name in cfg.DATASETS.TRAIN) if recomputes_flipped_images(cfg) else 0
    for step in schedule.steps:
        images = sum(size.values()) + (flipped if schedule.is_trained_on(step.name) else 0)
        manifest.step(step.name)["proposal_images"] = images if step.makes_proposals else 0
    manifest.data["left_out"] = list(selection.left_out)
    is_whole = not any(name in selection.left_out for name in schedule.assembly.values())
    tested = sum(size[name] for name in cfg.DATASETS.TEST)
    manifest.data["evaluation_images"] = tested if is_whole else 0
