"""Making the plan: each step's network is built without storage and compared with what it starts from."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Set

import torch
from detectron2.config import CfgNode

from ..checkpointing import (
    NEW,
    CheckpointError,
    fit_to_model,
    match_initial_weights,
    match_whole_network,
    names_from,
    pixel_disagreement,
    pixels_of_config,
    read_checkpoint,
)
from ..data import class_names_of
from .disk_space import bytes_of_network, check_disk, disk_of_run, memory_of_proposals
from .given import Given
from .initialize import may_be_missing
from .joint_checks import joint_training_problems
from .manifest import FINISHED, GIVEN, PENDING, RUNNING, Manifest
from .meta_model import build_meta_model
from .network import JOINT, ONE_STAGE
from .one_stage_checks import proposal_generator_problems
from .plan import Plan
from .remarks import init_without_effect, names_without_effect, remarks_on_not_found, remarks_on_not_used
from .schedule import Schedule
from .step import WEIGHTS, Step, configure_step, recomputes_flipped_images, with_solver_of
from .step_selection import Selection
from .world_size import describe_scaling, number_of_processes

__all__ = ["make_plan"]

_FEWER_PROPOSALS = "lower SCHEDULE.PROPOSALS.POST_NMS_TOPK, or set SCHEDULE.PROPOSALS.FLIPPED_IMAGES 'mirrored'"


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
    plan.remarks += init_without_effect(step, state)
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
        plan.remarks += remarks_on_not_found(step.name, matched.not_found)
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
            data_sets = class_names_of(step_cfg.DATASETS.TRAIN)
            sources.steps[step.name], _ = match_whole_network(
                model, given.weights, pixels_of_config(step_cfg), data_sets
            )
        except CheckpointError as error:
            plan.problems.append(f"{step.name} is given: {error}")
    elif step.name not in plan.left_out:
        _match_step(cfg, step, model, sources, plan)
    scaling = describe_scaling(with_solver_of(cfg, step).SOLVER, step_cfg.SOLVER)
    plan.remarks += [f"{step.name}: {scaling}"] if scaling else []
    problems = proposal_generator_problems(step, model)
    if not problems and step.kind in (JOINT, ONE_STAGE):
        problems = joint_training_problems(model)
    plan.problems += problems
    counts = {"trained": 0, "frozen": 0}
    for parameter in model.parameters():
        counts["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    if not counts["trained"] and given is None and step.name not in plan.left_out:
        plan.problems.append(
            f"{step.name} has nothing to train: MODEL.FREEZE_COMPONENTS and MODEL.FREEZE_PATTERNS, or a "
            f"SCHEDULE.{step.solver}.OPTS, freeze all of {', '.join(step.components)}."
        )
    return {
        "name": step.name,
        "kind": step.kind,
        "state": PENDING if given is None else GIVEN,
        "started_from": started_from,
        "trained": [name for name in step.trained if name not in step_cfg.MODEL.FREEZE_COMPONENTS],
        "frozen": list(step_cfg.MODEL.FREEZE_COMPONENTS),
        "parameters": counts,
        "bytes": bytes_of_network(model),
        "ims_per_batch": step_cfg.SOLVER.IMS_PER_BATCH,
        "max_iter": step_cfg.SOLVER.MAX_ITER,
        "lr_steps": list(step_cfg.SOLVER.STEPS),
        "base_lr": step_cfg.SOLVER.BASE_LR,
        "gamma": step_cfg.SOLVER.GAMMA,
        "proposals_in": step_cfg.MODEL.PROPOSAL_GENERATOR.NAME if step.kind == ONE_STAGE else step.proposals_from,
        "proposals_out": _proposals_out(cfg, step),
    }


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
        if earlier in (RUNNING, FINISHED) and step.name not in selection.given:
            entry["state"] = earlier
        plan.steps.append(entry)
    if sources.weights and sources.used and len(plan.steps) == len(schedule.steps):
        plan.remarks += remarks_on_not_used(cfg.MODEL.WEIGHTS, sources.weights, sources.used)
    plan.remarks += names_without_effect(cfg, {name for state in sources.steps.values() for name in state})
    if not plan.problems and len(plan.steps) == len(schedule.steps):  # else the data sets may not be there
        disk = check_disk(disk_of_run(cfg, schedule, plan.steps, plan.left_out), cfg.OUTPUT_DIR, _FEWER_PROPOSALS)
        plan.needs, plan.problems = [*disk["told"], *memory_of_proposals(cfg, schedule)], disk["problems"]
    if number_of_processes() > 1:
        plan.remarks.append(f"{number_of_processes()} processes share each batch.")
    if not cfg.DATASETS.TEST:
        plan.remarks.append("DATASETS.TEST is empty: the final network will not be evaluated.")
    return plan
