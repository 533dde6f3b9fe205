"""Checks of how long and how fast is trained: SCHEDULE.STEPn of a schedule's steps, SOLVER of a single training."""

from typing import List, Tuple

from detectron2.config import CfgNode
from detectron2.utils import comm

from .network import FAST_RCNN
from .schedule import build_schedule
from .step import Step, recomputes_flipped_images

__all__ = ["schedule_problems", "solver_problems"]


def solver_problems(name: str, node: CfgNode) -> List[str]:
    """Return what is wrong with iterations, learning rate and images per batch, one sentence each.

    Args:
        name: of the node in the config, "SOLVER" or "SCHEDULE.STEPn".
        node: with MAX_ITER, STEPS, BASE_LR and IMS_PER_BATCH.
    """
    problems = []
    if node.MAX_ITER < 1:
        problems.append(f"{name}.MAX_ITER is {node.MAX_ITER}: a training needs at least 1 iteration.")
    if list(node.STEPS) != sorted(set(node.STEPS)):
        problems.append(f"{name}.STEPS is {node.STEPS}: it takes iterations in rising order.")
    if node.BASE_LR <= 0:
        problems.append(f"{name}.BASE_LR is {node.BASE_LR}: it must be above 0.")
    if node.IMS_PER_BATCH < 1 or node.IMS_PER_BATCH % comm.get_world_size():
        problems.append(
            f"{name}.IMS_PER_BATCH is {node.IMS_PER_BATCH}: it must be a multiple of the number of processes, "
            f"{comm.get_world_size()}."
        )
    return problems


def schedule_problems(cfg: CfgNode) -> List[str]:
    """Return what is wrong with the SCHEDULE keys of `cfg`, one sentence each."""
    problems = []
    if cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES == "recomputed" and cfg.INPUT.RANDOM_FLIP == "vertical":
        problems.append(
            "SCHEDULE.PROPOSALS.FLIPPED_IMAGES 'recomputed' is for horizontal flips, but INPUT.RANDOM_FLIP is "
            "'vertical': set FLIPPED_IMAGES 'mirrored'."
        )
    if cfg.SCHEDULE.ROUNDS < 1:
        problems.append(f"SCHEDULE.ROUNDS is {cfg.SCHEDULE.ROUNDS}: steps 3 and 4 are run once or more often.")
    steps = _steps(cfg)
    if cfg.SCHEDULE.SOLVER_OF_STEPS == "SOLVER":
        problems += solver_problems("SOLVER", cfg.SOLVER)
    for solver in dict.fromkeys(step.solver for step in steps):
        if solver not in cfg.SCHEDULE:
            problems.append(f"SCHEDULE.{solver} is not there, but a step has its solver values from it: add the node.")
            continue
        if cfg.SCHEDULE.SOLVER_OF_STEPS == "own":
            problems += solver_problems(f"SCHEDULE.{solver}", cfg.SCHEDULE[solver])
        problems += _opts_problems(cfg, solver)
    if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals" and any(step.kind != FAST_RCNN for step in steps):
        problems.append(
            "MODEL.PROPOSAL_GENERATOR.NAME is PrecomputedProposals: a schedule with RPN steps needs an RPN; "
            "SCHEDULE.NAME 'fast_rcnn' trains a detector alone."
        )
    return problems


def _steps(cfg: CfgNode) -> Tuple[Step, ...]:
    try:
        return build_schedule(cfg).steps
    except (KeyError, ValueError, IndexError):  # which is told elsewhere
        return ()


def _opts_problems(cfg: CfgNode, step: str) -> List[str]:
    opts = list(cfg.SCHEDULE[step].OPTS)
    if len(opts) % 2:
        return [f"SCHEDULE.{step}.OPTS holds {len(opts)} entries; it takes 'KEY', value pairs."]
    step_cfg = cfg.clone()
    try:
        step_cfg.merge_from_list(opts)
    except (KeyError, AssertionError, ValueError) as error:
        return [f"SCHEDULE.{step}.OPTS: {error}"]
    flip = step_cfg.INPUT.RANDOM_FLIP
    if recomputes_flipped_images(step_cfg) and flip != cfg.INPUT.RANDOM_FLIP:
        return [
            f"SCHEDULE.{step}.OPTS sets INPUT.RANDOM_FLIP {flip!r} for one step, but the proposals of flipped images "
            "are computed for all steps or for none: set it for the whole run, or "
            "SCHEDULE.PROPOSALS.FLIPPED_IMAGES 'mirrored'."
        ]
    return []
