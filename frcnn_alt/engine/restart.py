"""``--restart-from``: a step of the run in OUTPUT_DIR, and those after it, made anew under the config of now.

The steps before it stay, and have to be finished under the same config. The manifest forgets the others before what
they left is removed: a command that is killed meanwhile leaves a run that goes on with making them.
"""

import copy
import glob
import os
import shutil
from typing import List, Tuple

from detectron2.config import CfgNode

from ..checkpointing import HASHES_FILE
from .defaults import ConfigError
from .manifest import FINISHED, PENDING, RUNNING, Manifest
from .schedule import Schedule
from .step_selection import Selection

__all__ = [
    "begun_from",
    "files_of_training",
    "forget_from",
    "number_of_step",
    "remove",
    "remove_from",
    "restart_problems",
]

# What a run makes of its steps.
_OF_THE_RUN = ("model_final.pth", "results.json", "inference", "report", "tensorboard")
# What a step leaves besides its training's files.
_OF_A_STEP = ("config.yaml", "log.txt", "events.out.tfevents.*", "proposals", "evaluation_in_training")


def files_of_training(folder: str) -> List[str]:
    """What a step's training has left in its folder, as far as a later one might take it for its own."""
    return _found(folder, ("last_checkpoint", HASHES_FILE, "metrics.json", "model_*.pth", "nonfinite_batch_*.pth"))


def _found(folder: str, names: Tuple[str, ...]) -> List[str]:
    return [path for name in names for path in sorted(glob.glob(os.path.join(glob.escape(folder), name)))]


def number_of_step(schedule: Schedule, text: str) -> int:
    """Which step of a schedule, from 1 on, ``--restart-from`` names by its number or its name.

    Raises:
        ConfigError: there is no such step.
    """
    names = [step.name for step in schedule.steps]
    if text in names:
        return names.index(text) + 1
    if text.isdecimal() and 1 <= int(text) <= len(names):
        return int(text)
    raise ConfigError(
        f"--restart-from {text}: it takes a step's number, from 1 to {len(names)}, or its name: {', '.join(names)}."
    )


def forget_from(manifest: Manifest, number: int, cfg: CfgNode) -> Manifest:
    """Return a copy of a manifest in which the steps from the `number`-th on are still to be made; nothing is written.

    What was given for a step is remembered. A SEED of the config is the run's: if it is another than before, the steps
    that stay say so.
    """
    data = copy.deepcopy(manifest.data)
    data.pop("assembled", None)
    data["schedule"] = cfg.SCHEDULE.NAME
    data["seed"] = cfg.SEED if cfg.SEED >= 0 else data["seed"]
    for place, entry in enumerate(data["steps"][number - 1 :], start=number - 1):
        kept = {key: entry[key] for key in ("name", "kind", "given") if key in entry}
        data["steps"][place] = {**kept, "state": PENDING}
    return Manifest(manifest.path, data)


def restart_problems(manifest: Manifest, number: int, selection: Selection) -> List[str]:
    """Say which step before the `number`-th keeps the run from being restarted there.

    Args:
        manifest: of the run as it is.
        number: counts from 1.
        selection: what becomes of each step.
    """
    for place, entry in enumerate(manifest.data["steps"][: number - 1], start=1):
        if entry["name"] in selection.trained and entry["state"] != FINISHED:
            return [
                f"--restart-from {number}: {entry['name']}, before it, is not finished. --resume alone goes on with "
                f"it; --restart-from {place} makes it anew too."
            ]
    return []


def begun_from(manifest: Manifest, number: int) -> List[str]:
    """Names of the steps from the `number`-th on that have been begun."""
    return [entry["name"] for entry in manifest.data["steps"][number - 1 :] if entry["state"] in (RUNNING, FINISHED)]


def remove_from(manifest: Manifest, number: int) -> None:
    """Remove what the steps from the `number`-th on have left, and what the run made of them.

    Args:
        manifest: that of `forget_from`, written.
        number: counts from 1.
    """
    folder = os.path.dirname(manifest.path)
    paths = _found(folder, _OF_THE_RUN)
    for entry in manifest.data["steps"][number - 1 :]:
        of_step = os.path.join(folder, entry["name"])
        paths += [*files_of_training(of_step), *_found(of_step, _OF_A_STEP)]
    for path in paths:
        remove(path)


def remove(path: str) -> None:
    """Remove a file or a folder with all that is in it; of a link the link, and not what it leads to."""
    shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
