"""What a plan remarks though nothing is wrong: what starts new, what is not used, which keys have no effect."""

import re
from typing import Any, Iterable, List, Mapping, Set

from detectron2.config import CfgNode

from ..config import get_cfg
from .loss_weights import LOSSES, loss_weights
from .step import Step

__all__ = ["init_without_effect", "names_without_effect", "remarks_on_not_found", "remarks_on_not_used"]

# Buffers, not learnt, of layers whose parameters are told of.
_MEASURED = (".mean", ".std", ".running_mean", ".running_var", ".num_batches_tracked")


def _some(names: List[str], count: int) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def remarks_on_not_found(training: str, not_found: Mapping[str, List[str]]) -> List[str]:
    """What starts new because its source lacks it.

    Args:
        training: what the remarks begin with, such as a step's name.
        not_found: source -> names of parameters and buffers.
    """
    learned = {source: [name for name in names if not name.endswith(_MEASURED)] for source, names in not_found.items()}
    return [
        f"{training}: not in {source}, so they start new: {_some(names, 4)}."
        for source, names in learned.items()
        if names
    ]


def remarks_on_not_used(path: str, checkpoint: Mapping[str, Any], used: Set[str]) -> List[str]:
    """What no step takes of the file of initial weights at `path`; `used` are the names that some step takes."""
    if checkpoint.get("matching_heuristics"):
        return []  # the names there are not those that the steps take
    record = checkpoint.get("frcnn_alt", {})
    layers = record.get("layers", {})
    names = [name for name in checkpoint["model"] if name not in used and not name.endswith(_MEASURED)]
    of_layers = (layers.get(name, re.sub(r"\.(weight|bias)$", "", name)) for name in names)
    unused = list(dict.fromkeys([*record.get("not_used", []), *of_layers]))
    return [f"No step starts from these of {path}: {_some(unused, 8)}."] if unused else []


def init_without_effect(step: Step, names: Iterable[str]) -> List[str]:
    """What `step` has a source for and its network, whose parameters and buffers are called `names`, has not."""
    return [
        f"{step.name}: {component} is to start from {source}, but its network has none: without effect."
        for component, source in step.init.items()
        if not any(name.startswith(f"{component}.") for name in names)
    ]


def names_without_effect(cfg: CfgNode, names: Set[str]) -> List[str]:
    """What patterns fit no parameter of any step, and which weights are of no loss that is known here.

    Args:
        cfg: the run's config.
        names: of the parameters and buffers of all steps' networks.
    """
    remarks = [
        f"MODEL.FREEZE_PATTERNS: {pattern!r} fits no parameter of any step; one is called {min(names)}."
        for pattern in cfg.MODEL.FREEZE_PATTERNS
        if names and not any(re.search(pattern, name) for name in names)
    ]
    unknown = [name for name in loss_weights(cfg) if name not in LOSSES]
    if unknown:
        remarks.append(
            f"SOLVER.LOSS_WEIGHTS names {', '.join(unknown)}, which is without effect unless a component of your own "
            f"has such a loss; detectron2's are {', '.join(LOSSES)}."
        )
    return remarks + _solver_values_without_effect(cfg)


def _solver_values_without_effect(cfg: CfgNode) -> List[str]:
    """Of a detectron2 user's first four overrides none would do anything."""
    if cfg.SCHEDULE.SOLVER_OF_STEPS != "own":
        return []
    stock = get_cfg().SOLVER
    keys = [key for key in ("MAX_ITER", "STEPS", "BASE_LR", "IMS_PER_BATCH") if cfg.SOLVER[key] != stock[key]]
    if not keys:
        return []
    values = ", ".join(f"SOLVER.{key} {cfg.SOLVER[key]}" for key in keys)
    return [
        f"{values}: without effect, every step has its own, such as SCHEDULE.STEP1.{keys[0]}; or set "
        "SCHEDULE.SOLVER_OF_STEPS 'SOLVER'."
    ]
