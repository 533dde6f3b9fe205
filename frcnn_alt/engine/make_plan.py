"""Making the plan: each step's network is built without storage and compared with what it starts from."""

import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Set

import torch
from detectron2.config import CfgNode

from ..checkpointing import (
    NEW,
    CheckpointError,
    InitialWeights,
    fit_to_model,
    match_initial_weights,
    match_whole_network,
    names_from,
    pixel_disagreement,
    pixels_of_config,
    read_checkpoint,
)
from ..config import get_cfg
from .given import Given
from .initialize import may_be_missing
from .joint_checks import joint_training_problems
from .loss_weights import LOSSES, loss_weights
from .manifest import FINISHED, GIVEN, PENDING, RUNNING, Manifest
from .meta_model import build_meta_model
from .network import JOINT
from .plan import Plan
from .schedule import Schedule
from .step import WEIGHTS, Step, configure_step, recomputes_flipped_images, with_solver_of
from .step_selection import Selection
from .world_size import describe_scaling, number_of_processes

__all__ = ["make_plan"]


def _describe_sources(cfg: CfgNode, step: Step) -> Dict[str, str]:
    described = {}
    for component, source in step.init.items():
        if source == WEIGHTS:
            source = f"weights {cfg.MODEL.WEIGHTS}" if cfg.MODEL.WEIGHTS else "new (no MODEL.WEIGHTS)"
        described[component] = source
    return described


def _proposals_out(cfg: CfgNode, step: Step) -> List[str]:
    if not step.makes_proposals:
        return []
    flipped = [f"{name}, flipped" for name in cfg.DATASETS.TRAIN] if recomputes_flipped_images(cfg) else []
    return [*dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)), *flipped]


def _remark_on_not_found(step: Step, matched: InitialWeights, remarks: List[str]) -> None:
    for source, names in matched.not_found.items():
        learned = [name for name in names if not name.endswith((".mean", ".std"))]
        if learned:
            shown = ", ".join(learned[:4]) + (f" and {len(learned) - 4} more" if len(learned) > 4 else "")
            remarks.append(f"{step.name}: not in {source}, so they start new: {shown}.")


def _remark_on_not_used(path: str, checkpoint: Mapping[str, Any], used: Set[str], remarks: List[str]) -> None:
    record = checkpoint.get("frcnn_alt", {})
    layers = record.get("layers", {})
    names = [name for name in checkpoint["model"] if name not in used and not name.endswith((".mean", ".std"))]
    unused = list(dict.fromkeys([*record.get("not_used", []), *(layers.get(name, name) for name in names)]))
    if unused:
        shown = ", ".join(unused[:8]) + (f" and {len(unused) - 8} more" if len(unused) > 8 else "")
        remarks.append(f"No step starts from these of {path}: {shown}.")


@dataclass
class _Sources:
    """What steps may start from, as far as it is known while the plan is made.

    Attributes:
        weights: MODEL.WEIGHTS, read; None if there is no such file.
        steps: step name -> its state dict, of tensors without storage, or as given.
        used: names of MODEL.WEIGHTS that some step takes.
    """

    weights: Optional[Mapping[str, Any]] = None
    steps: Dict[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    used: Set[str] = field(default_factory=set)


def _match_step(cfg: CfgNode, step: Step, model: torch.nn.Module, sources: _Sources, plan: Plan) -> None:
    """Compare the network of a step that is trained with what it starts from."""
    state = model.state_dict()
    init = {
        component: source
        for component, source in step.init.items()
        if source == NEW or source in sources.steps or (source == WEIGHTS and sources.weights)
    }

    def read_source(source: str) -> Mapping[str, torch.Tensor]:
        if source != WEIGHTS:
            return sources.steps[source]
        return fit_to_model(sources.weights, model, names_from(WEIGHTS, state, init))["model"]

    try:
        matched = match_initial_weights(state, init, read_source, may_be_missing(model))
        sources.used.update(name for name, source in matched.source.items() if source == WEIGHTS)
        _remark_on_not_found(step, matched, plan.remarks)
    except CheckpointError as error:
        text, file = str(error), f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}"
        text = text.replace(f"in {WEIGHTS},", f"in {file},").replace(f"{WEIGHTS} holds", f"{file} holds")
        plan.problems.append(f"{step.name}: {text}")


def _plan_step(cfg: CfgNode, step: Step, given: Optional[Given], sources: _Sources, plan: Plan) -> Dict[str, Any]:
    """Return the step's entry; adds what later steps may start from to `sources`."""
    step_cfg = configure_step(cfg, step, cfg.OUTPUT_DIR)
    model = build_meta_model(step_cfg)
    started_from = _describe_sources(cfg, step)
    sources.steps[step.name] = model.state_dict()
    if given is not None:
        started_from = {"all": f"given: {given.weights}"}
        try:
            sources.steps[step.name], _ = match_whole_network(model, given.weights, pixels_of_config(step_cfg))
        except CheckpointError as error:
            plan.problems.append(f"{step.name} is given: {error}")
    elif step.name not in plan.left_out:
        _match_step(cfg, step, model, sources, plan)
    scaling = describe_scaling(with_solver_of(cfg, step.solver).SOLVER, step_cfg.SOLVER)
    plan.remarks += [f"{step.name}: {scaling}"] if scaling else []
    if step.kind == JOINT:
        plan.problems += joint_training_problems(model)
    counts = {"trained": 0, "frozen": 0}
    for parameter in model.parameters():
        counts["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    if not counts["trained"]:
        plan.problems.append(
            f"{step.name} has nothing to train: MODEL.FREEZE_COMPONENTS and MODEL.FREEZE_PATTERNS, or a "
            f"SCHEDULE.{step.solver}.OPTS, freeze all of {', '.join(step.components)}."
        )
    return {
        "name": step.name,
        "kind": step.kind,
        "state": PENDING if given is None else GIVEN,
        "started_from": started_from,
        "trained": list(step.trained),
        "frozen": list(step.frozen),
        "parameters": counts,
        "ims_per_batch": step_cfg.SOLVER.IMS_PER_BATCH,
        "max_iter": step_cfg.SOLVER.MAX_ITER,
        "lr_steps": list(step_cfg.SOLVER.STEPS),
        "base_lr": step_cfg.SOLVER.BASE_LR,
        "gamma": step_cfg.SOLVER.GAMMA,
        "proposals_in": step.proposals_from,
        "proposals_out": _proposals_out(cfg, step),
    }


def _names_without_effect(cfg: CfgNode, sources: _Sources) -> List[str]:
    """What patterns fit no parameter of any step, and which weights are of no loss that is known here."""
    names = {name for state in sources.steps.values() for name in state}
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


def _read_weights(cfg: CfgNode, plan: Plan) -> Optional[Mapping[str, Any]]:
    if not cfg.MODEL.WEIGHTS:
        return None
    try:
        checkpoint = read_checkpoint(cfg.MODEL.WEIGHTS)
    except CheckpointError as error:
        if not any(cfg.MODEL.WEIGHTS in problem for problem in plan.problems):
            plan.problems.append(str(error))
        return None
    disagreement = pixel_disagreement(checkpoint.get("frcnn_alt", {}), pixels_of_config(cfg), cfg.MODEL.WEIGHTS)
    plan.problems += [disagreement] if disagreement else []
    return checkpoint


def make_plan(
    cfg: CfgNode,
    schedule: Schedule,
    selection: Selection,
    problems: List[str],
    manifest: Optional[Manifest] = None,
) -> Plan:
    """Plan every step of `schedule` and check its weights against its model's shapes.

    Args:
        cfg: the run's config.
        schedule: its schedule.
        selection: what becomes of each step.
        problems: those already known (config, data); they come first in the plan's.
        manifest: of the run that is gone on with; the entries say how far each step is.
    """
    plan = Plan(problems=list(problems), left_out=list(selection.left_out))
    from_weights = [name for name in selection.trained if WEIGHTS in schedule[name].init.values()]
    sources = _Sources(_read_weights(cfg, plan) if from_weights else None)
    if from_weights and not cfg.MODEL.WEIGHTS:
        plan.remarks.append(
            f"MODEL.WEIGHTS is empty: {' and '.join(from_weights)} start from random weights, unlike the paper's."
        )
    for step in schedule.steps:
        try:
            entry = _plan_step(cfg, step, selection.given.get(step.name), sources, plan)
        except Exception as error:  # whatever a component's constructor objects to is the user's to mend
            if not problems:  # else it may be what these say already
                plan.problems.append(f"The network of {step.name} cannot be built: {type(error).__name__}: {error}")
            break  # the other steps' networks have the same components
        earlier = manifest.step(step.name)["state"] if manifest is not None else PENDING
        if earlier in (RUNNING, FINISHED):
            entry["state"] = earlier
        plan.steps.append(entry)
    if sources.weights and sources.used and len(plan.steps) == len(schedule.steps):
        _remark_on_not_used(cfg.MODEL.WEIGHTS, sources.weights, sources.used, plan.remarks)
    plan.remarks += _names_without_effect(cfg, sources)
    if number_of_processes() > 1:
        plan.remarks.append(f"{number_of_processes()} processes share each batch.")
    if not cfg.DATASETS.TEST:
        plan.remarks.append("DATASETS.TEST is empty: the final network will not be evaluated.")
    return plan
