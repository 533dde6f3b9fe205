"""How many processes share a training, and what that makes of its learning rate and iterations.

The scaling is detectron2's: with SOLVER.REFERENCE_WORLD_SIZE the values of a config are those for so many processes,
and ``DefaultTrainer.auto_scale_workers`` converts them. It is called here alone, before a config is planned, checked,
hashed or trained, so that all of these see the same numbers; detectron2's own call then finds nothing to convert.
"""

import contextlib
from typing import Any, Iterator, Optional

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm

__all__ = ["describe_scaling", "number_of_processes", "planned_for", "scale_to_processes"]

_SCALED = ("IMS_PER_BATCH", "BASE_LR", "MAX_ITER", "STEPS", "WARMUP_ITERS", "CHECKPOINT_PERIOD")

_planned: Optional[int] = None


def number_of_processes() -> int:
    """The number of processes that share each batch: those that run, or those that a plan is made for."""
    return comm.get_world_size() if _planned is None else _planned


@contextlib.contextmanager
def planned_for(processes: int) -> Iterator[None]:
    """Within this context, plan and check in one process for so many of them."""
    global _planned
    before, _planned = _planned, processes
    try:
        yield
    finally:
        _planned = before


def scale_to_processes(cfg: CfgNode) -> CfgNode:
    """Return a copy of `cfg`, not frozen, whose SOLVER is what `number_of_processes()` processes train with.

    Where SOLVER.REFERENCE_WORLD_SIZE is 0 nothing is scaled, nor where it does not divide IMS_PER_BATCH, which
    `solver_problems` reports. Drops of the learning rate at or after the end are left out.
    """
    cfg = cfg.clone()
    cfg.defrost()
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference > 0 and cfg.SOLVER.IMS_PER_BATCH % reference == 0:
        cfg = DefaultTrainer.auto_scale_workers(cfg, number_of_processes())
        cfg.SOLVER.CHECKPOINT_PERIOD = max(1, cfg.SOLVER.CHECKPOINT_PERIOD)  # short runs would have it rounded to 0
    # They have no effect, and fvcore refuses more of them than iterations.
    cfg.SOLVER.STEPS = tuple(drop for drop in cfg.SOLVER.STEPS if drop < cfg.SOLVER.MAX_ITER)
    return cfg


def describe_scaling(before: CfgNode, after: CfgNode) -> str:
    """Say for people what was scaled from what to what; "" if nothing was.

    Args:
        before: the SOLVER node of a config.
        after: that of what `scale_to_processes` made of it.
    """
    if before.REFERENCE_WORLD_SIZE == after.REFERENCE_WORLD_SIZE:
        return ""
    changes = [f"{key} {_shown(before[key])} -> {_shown(after[key])}" for key in _SCALED if before[key] != after[key]]
    return (
        f"scaled from {before.REFERENCE_WORLD_SIZE} to {after.REFERENCE_WORLD_SIZE} processes, as "
        f"SOLVER.REFERENCE_WORLD_SIZE asks: {', '.join(changes)}."
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)  # 0.3, not 0.30000000000000004
