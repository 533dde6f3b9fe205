"""What stands in for a step that is not trained here: a file of an earlier run, or of somebody else's program.

``SCHEDULE.STEPn.GIVEN`` names a weight file of any kind that MODEL.WEIGHTS takes, ``SCHEDULE.GIVEN_RUN`` a run.
"""

import os
from dataclasses import dataclass
from typing import Optional

from detectron2.config import CfgNode

from ..checkpointing import file_sha256, weight_files
from .defaults import ConfigError
from .manifest import FINISHED, GIVEN, Manifest
from .step import Step

__all__ = ["Given", "find_given"]


@dataclass(frozen=True)
class Given:
    """What stands in for a step.

    Attributes:
        weights: a weight file.
        run: the manifest of the earlier run that the file is of, if it is; the step's proposals then lie beside it.
    """

    weights: str
    run: Optional[Manifest] = None


def find_given(cfg: CfgNode, step: Step, number: int) -> Optional[Given]:
    """Find what stands in for a step, the `number`-th from 1 on; None where nothing is given for it.

    Raises:
        ConfigError: SCHEDULE.GIVEN_RUN is no run's folder; what is given is not there, or not what the run wrote.
    """
    node = f"STEP{number}"
    if node in cfg.SCHEDULE and cfg.SCHEDULE[node].GIVEN:
        file = cfg.SCHEDULE[node].GIVEN
        missing = [path for path in weight_files(file) if not os.path.isfile(path)]
        if missing:
            raise ConfigError(f"SCHEDULE.{node}.GIVEN: {' and '.join(missing)} does not exist.")
        return Given(file)
    return _find_in_run(cfg.SCHEDULE.GIVEN_RUN, step) if cfg.SCHEDULE.GIVEN_RUN else None


def _find_in_run(folder: str, step: Step) -> Optional[Given]:
    run = Manifest.read(folder)
    if run is None:
        raise ConfigError(f"SCHEDULE.GIVEN_RUN (--from-run): {folder} is no run's folder, it has no manifest.json.")
    entry = next((entry for entry in run.data["steps"] if entry["name"] == step.name), None)
    if entry is None or entry["state"] not in (FINISHED, GIVEN):
        return None
    written = entry["outputs"]["model"]
    moved = os.path.join(folder, step.name, "model_final.pth")  # wherever the run's folder lies by now
    weights = moved if entry["state"] == FINISHED else written["path"]
    if not all(map(os.path.isfile, weight_files(weights))):
        raise ConfigError(f"SCHEDULE.GIVEN_RUN: {weights}, which {step.name} of that run wrote, does not exist.")
    if file_sha256(weights) != written["sha256"]:
        raise ConfigError(f"SCHEDULE.GIVEN_RUN: {weights} is not the file that {step.name} of that run wrote.")
    return Given(weights, run)
