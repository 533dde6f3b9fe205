"""What differs between the config that a step was begun with and the one that it is to be gone on with."""

import json
import os
from typing import Any, Dict, List

import yaml
from detectron2.config import CfgNode

from ..safe_yaml import load_yaml
from .defaults import ConfigError
from .manifest import has_no_effect
from .world_size import number_of_processes

__all__ = ["what_changed"]


def what_changed(output_dir: str, cfg: CfgNode, number: int) -> str:
    """Say which keys changed since the step in `output_dir` was begun, and what to do.

    Args:
        output_dir: a step's folder, with the config.yaml that it was begun with.
        cfg: the step's config now. Where no key differs it is the files it starts from that changed.
        number: of the step in its schedule, from 1 on.
    """
    path = os.path.join(output_dir, "config.yaml")
    changed: List[str] = []
    if os.path.isfile(path):
        old = _read(path)
        new = _leaves(cfg)
        changed = [key for key in new if new[key] != old.get(key) and not has_no_effect(key)]
        processes = old.get("SOLVER.REFERENCE_WORLD_SIZE", "0")
        if processes not in ("0", str(number_of_processes())) and _are_of_the_solver(changed):
            return (
                f"{output_dir} was made by {processes} processes, for which SOLVER.REFERENCE_WORLD_SIZE scaled its "
                "images per batch, learning rate and iterations: resume it with as many, or make it and the "
                f"steps after it anew: --restart-from {number}."
            )
    what = ", ".join(changed) if changed else "the weights or the data that it started from, or the seed"
    return (
        f"{output_dir} was made with another config; changed: {what}. Put it back, choose another OUTPUT_DIR, or make "
        f"this step and those after it anew: --restart-from {number}."
    )


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return _leaves(CfgNode(load_yaml(file)))
    except (yaml.YAMLError, OSError, AssertionError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as the config that this step was begun with ({error}): put it back, choose another "
            "OUTPUT_DIR, or begin anew with --overwrite."
        ) from error


def _are_of_the_solver(keys: List[str]) -> bool:
    """Whether detectron2's scaling to the number of processes may have changed all of `keys`."""
    return "SOLVER.REFERENCE_WORLD_SIZE" in keys and all(key.startswith("SOLVER.") for key in keys)


def _leaves(cfg: CfgNode, prefix: str = "") -> Dict[str, Any]:
    leaves: Dict[str, Any] = {}
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            leaves.update(_leaves(value, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = json.dumps(value)  # tuples come back from yaml as lists
    return leaves
