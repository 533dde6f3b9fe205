"""Checks of how long and how fast is trained: SCHEDULE.STEPn of a schedule's steps, SOLVER of a single training."""

import math
from typing import List, Sequence

from detectron2.config import CfgNode

from .defaults import explain_merge_error
from .loss_weights import loss_weight_problems
from .network import FAST_RCNN, ONE_STAGE
from .schedule import steps_of
from .schedules import MOST_ROUNDS
from .step import FILES, Step, recomputes_flipped_images, with_solver_of
from .world_size import number_of_processes, scale_to_processes

__all__ = ["length_problems", "schedule_problems", "solver_problems"]

# What all steps of a run share; a step that had another one would not start from what the others wrote.
_RUN_WIDE = (
    "OUTPUT_DIR",
    "TRAINER",
    "SEED",
    "SCHEDULE",
    "MODEL.WEIGHTS",
    "MODEL.PIXEL_MEAN_IMAGE",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "INPUT.FORMAT",
    "DATASETS.TRAIN",
    "DATASETS.TEST",
    "DATASETS.VOC_LAYOUT",
    "DATASETS.COCO_JSON",
    "DATASETS.PROPOSAL_FILES_TRAIN",
    "DATASETS.PROPOSAL_FILES_TEST",
    "DATASETS.MALFORMED",
)

_HOW_TO_SCALE = (
    "or SOLVER.REFERENCE_WORLD_SIZE says for how many processes the values are meant (1 for the paper's), and images "
    "per batch, learning rate and iterations are scaled"
)


def solver_problems(name: str, cfg: CfgNode) -> List[str]:
    """Return what is wrong with iterations, learning rate and images per batch, one sentence each.

    Args:
        name: of the node in the config that they stand in, "SOLVER" or "SCHEDULE.STEPn".
        cfg: has them in SOLVER, before they are scaled to the number of processes.
    """
    solver = cfg.SOLVER
    problems = length_problems(name, solver)
    processes, reference = number_of_processes(), solver.REFERENCE_WORLD_SIZE
    if reference < 0:
        problems.append(f"SOLVER.REFERENCE_WORLD_SIZE is {reference}: it takes a number of processes, or 0.")
    elif solver.IMS_PER_BATCH < 1 or (reference == 0 and solver.IMS_PER_BATCH % processes):
        problems.append(
            f"{name}.IMS_PER_BATCH is {solver.IMS_PER_BATCH}: it must be a multiple of the number of processes, "
            f"{processes}" + (f"; {_HOW_TO_SCALE}." if solver.IMS_PER_BATCH >= 1 else ".")
        )
    return problems or (_scaling_problems(name, cfg) if reference else [])


def length_problems(name: str, node: CfgNode) -> List[str]:
    """Return what is wrong with MAX_ITER, STEPS and BASE_LR of a node of the config called `name`."""
    problems = []
    if node.MAX_ITER < 1:
        problems.append(f"{name}.MAX_ITER is {node.MAX_ITER}: a training needs at least 1 iteration.")
    if not _are_rising(node.STEPS):
        problems.append(f"{name}.STEPS is {node.STEPS}: it takes iterations above 0 in rising order.")
    if not 0 < node.BASE_LR < math.inf:
        problems.append(f"{name}.BASE_LR is {node.BASE_LR}: it must be above 0, and finite.")
    return problems


def _are_rising(steps: Sequence[int]) -> bool:
    return list(steps) == sorted(set(steps)) and all(step > 0 for step in steps)


def _scaling_problems(name: str, cfg: CfgNode) -> List[str]:
    """What becomes wrong with a SOLVER when detectron2 scales it."""
    solver, reference = cfg.SOLVER, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if solver.IMS_PER_BATCH % reference:
        return [
            f"{name}.IMS_PER_BATCH is {solver.IMS_PER_BATCH}: it must be a multiple of SOLVER.REFERENCE_WORLD_SIZE, "
            f"{reference}, the number of processes that the values are meant for."
        ]
    scaled = scale_to_processes(cfg).SOLVER
    how = f"scaled from {reference} to {number_of_processes()} processes (SOLVER.REFERENCE_WORLD_SIZE)"
    if scaled.MAX_ITER < 1:
        return [f"{name}.MAX_ITER is {solver.MAX_ITER}: no iteration is left when {how}."]
    if not _are_rising(scaled.STEPS):
        return [f"{name}.STEPS is {solver.STEPS}, which becomes {scaled.STEPS} when {how}: take fewer or later ones."]
    return []


def schedule_problems(cfg: CfgNode) -> List[str]:
    """Return what is wrong with the SCHEDULE keys of `cfg`, one sentence each."""
    problems = []
    steps = steps_of(cfg)
    computed = any(step.proposals_from not in (None, FILES) for step in steps)  # proposals that a step trains on
    if computed and cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES == "recomputed" and cfg.INPUT.RANDOM_FLIP == "vertical":
        problems.append(
            "SCHEDULE.PROPOSALS.FLIPPED_IMAGES 'recomputed' is for horizontal flips, but INPUT.RANDOM_FLIP is "
            "'vertical': set FLIPPED_IMAGES 'mirrored'."
        )
    if not 1 <= cfg.SCHEDULE.ROUNDS <= MOST_ROUNDS:
        problems.append(
            f"SCHEDULE.ROUNDS is {cfg.SCHEDULE.ROUNDS}: steps 3 and 4 are run once or more often, up to {MOST_ROUNDS} "
            "times."
        )
    for step in steps:
        if step.solver not in cfg.SCHEDULE:
            problems.append(
                f"SCHEDULE.{step.solver} is not there, but a step has its solver values from it: add the node."
            )
        else:
            problems += _step_problems(cfg, step, flips_must_agree=computed)
    stored = cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    if stored and any(step.kind not in (FAST_RCNN, ONE_STAGE) for step in steps):
        problems.append(
            "MODEL.PROPOSAL_GENERATOR.NAME is PrecomputedProposals: a schedule with RPN steps needs an RPN; "
            "SCHEDULE.NAME 'fast_rcnn' trains a detector alone."
        )
    return list(dict.fromkeys(problems))  # what is wrong with a key that all steps share is said once


def _step_problems(cfg: CfgNode, step: Step, *, flips_must_agree: bool) -> List[str]:
    node = f"SCHEDULE.{step.solver}"
    by_name = {f"{node}.OPTS": list(cfg.SCHEDULE[step.solver].OPTS), f"The opts of {step.name}": list(step.opts)}
    for name, opts in by_name.items():
        if len(opts) % 2 or not all(isinstance(key, str) for key in opts[::2]):
            return [f"{name} holds {len(opts)} entries, {opts}; it takes 'KEY', value pairs."]
        shared = [key for key in opts[::2] if f"{key}.".startswith(tuple(f"{wide}." for wide in _RUN_WIDE))]
        if shared:
            return [f"{name} must not set {', '.join(shared)}, which all steps share: set it for the whole run."]
    try:
        step_cfg = with_solver_of(cfg, step)
    except (KeyError, AssertionError, ValueError) as error:
        return [
            str(explain_merge_error(error, cfg, " or ".join(name for name, opts in by_name.items() if opts) or node))
        ]
    where = node if cfg.SCHEDULE.SOLVER_OF_STEPS == "own" else "SOLVER"
    if any(key.startswith("SOLVER.") for opts in by_name.values() for key in opts[::2]):
        where = f"{step.name}: SOLVER"
    problems = solver_problems(where, step_cfg)
    if step_cfg.SOLVER.LOSS_WEIGHTS != cfg.SOLVER.LOSS_WEIGHTS:
        problems += [f"{step.name}: {problem}" for problem in loss_weight_problems(step_cfg)]
    flip = step_cfg.INPUT.RANDOM_FLIP
    if flips_must_agree and recomputes_flipped_images(step_cfg) and flip != cfg.INPUT.RANDOM_FLIP:
        problems.append(
            f"{node}.OPTS sets INPUT.RANDOM_FLIP {flip!r} for one step, but the proposals of flipped images "
            "are computed for all steps or for none: set it for the whole run, or "
            "SCHEDULE.PROPOSALS.FLIPPED_IMAGES 'mirrored'."
        )
    return problems
