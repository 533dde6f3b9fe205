"""What stands in for a step that is not trained here: a file of an earlier run, or of somebody else's program.

``SCHEDULE.STEPn.GIVEN`` names a weight file of any kind that MODEL.WEIGHTS takes, ``SCHEDULE.GIVEN_RUN`` a run. A run
that is gone on with remembers in its manifest what it was given.
"""

import os
from dataclasses import dataclass
from typing import Any, Dict, Optional

from detectron2.config import CfgNode

from ..checkpointing import file_sha256, is_remote, missing_files, weight_files
from .defaults import ConfigError
from .manifest import FINISHED, GIVEN, Manifest
from .step import Step

__all__ = ["Given", "find_given"]


@dataclass(frozen=True)
class Given:
    """What stands in for a step.

    Attributes:
        weights: a weight file.
        sha256: of its content.
        run: the manifest of the earlier run that the file is of, if it is; the step's proposals then lie beside it.
    """

    weights: str
    sha256: str
    run: Optional[Manifest] = None

    @property
    def for_manifest(self) -> Dict[str, Any]:
        """As it stands under "given" in the step's entry: with paths that lead there from any folder."""
        run = os.path.abspath(os.path.dirname(self.run.path)) if self.run is not None else None
        return {"path": _absolute(self.weights), "sha256": self.sha256, "run": run}


def _absolute(weights: str) -> str:
    return ",".join(file if is_remote(file) else os.path.abspath(file) for file in weight_files(weights))


def find_given(cfg: CfgNode, step: Step, number: int, manifest: Optional[Manifest]) -> Optional[Given]:
    """Find what stands in for a step, the `number`-th from 1 on; None where nothing is given for it.

    Args:
        cfg: SCHEDULE.STEPn.GIVEN comes first, then SCHEDULE.GIVEN_RUN, then what `manifest` remembers.
        manifest: of the run that is gone on with, if there is one.

    Raises:
        ConfigError: SCHEDULE.GIVEN_RUN is no earlier run's folder; what is given is not there, or not what the run
            wrote.
    """
    remembered: Dict[str, Any] = (manifest.step(step.name).get("given") if manifest is not None else None) or {}
    key, run = f"SCHEDULE.STEP{number}.GIVEN", cfg.SCHEDULE.GIVEN_RUN
    file = cfg.SCHEDULE.get(f"STEP{number}", {}).get("GIVEN", "")
    if file:
        return _made_here(manifest, step, file) or _find_file(key, file)
    if run:
        found = _find_in_run("SCHEDULE.GIVEN_RUN (--from-run)", run, step)
        if found is not None:
            return found
    if remembered.get("run"):
        return _find_in_run(f"{step.name} was given from another run (--from-run)", remembered["run"], step)
    if remembered:
        file = remembered["path"]
        return _made_here(manifest, step, file) or _find_file(f"{step.name} was given as a file", file)
    return None


def _made_here(manifest: Optional[Manifest], step: Step, file: str) -> Optional[Given]:
    """What the run has made of a file that it was given before and that is gone by now."""
    if manifest is None or not missing_files(file):
        return None
    entry = manifest.step(step.name)
    if entry["state"] != GIVEN or _absolute(entry["given"]["path"]) != _absolute(file):
        return None
    own = os.path.join(os.path.dirname(manifest.path), step.name, "model_final.pth")
    if not os.path.isfile(own) or file_sha256(own) != entry["outputs"]["model"]["sha256"]:
        return None
    return Given(own, entry["given"]["sha256"])


def _find_file(key: str, file: str) -> Given:
    missing = missing_files(file)
    if missing:
        raise ConfigError(f"{key}: {' and '.join(missing)} does not exist.")
    return Given(file, file_sha256(file))


def _find_in_run(key: str, folder: str, step: Step) -> Optional[Given]:
    run = Manifest.read(folder)
    if run is None:
        raise ConfigError(f"{key}: {folder} is no run's folder, it has no manifest.json.")
    entry = next((entry for entry in run.data["steps"] if entry["name"] == step.name), None)
    if entry is None or entry["state"] not in (FINISHED, GIVEN):
        return None
    written = entry["outputs"]["model"]
    moved = os.path.join(folder, step.name, "model_final.pth")  # wherever the run's folder lies by now
    # Of a step that was given to that run the folder may hold what an earlier run left there.
    is_own = entry["state"] == FINISHED or (os.path.isfile(moved) and file_sha256(moved) == written["sha256"])
    weights = moved if is_own else written["path"]
    if missing_files(weights):
        raise ConfigError(f"{key}: {weights}, which {step.name} of that run wrote, does not exist.")
    if file_sha256(weights) != written["sha256"]:
        raise ConfigError(f"{key}: {weights} is not the file that {step.name} of that run wrote.")
    return Given(weights, written["sha256"], run)
