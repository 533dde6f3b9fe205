"""The plan of a run: for each step what starts from where, what is trained, and all that can be checked beforehand.

``--dry-run`` prints it and stops; a real run prints the same first. The models are built on the "meta" device: their
parameters have shapes and no storage, so that even VGG-16 costs no time.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

import torch
from detectron2.config import CfgNode
from tabulate import tabulate

from ..checkpointing import (
    NEW,
    CheckpointError,
    InitialWeights,
    fit_to_model,
    match_initial_weights,
    names_from,
    pixel_disagreement,
    pixels_of_config,
    read_checkpoint,
)
from .schedule import Schedule
from .step import FAST_RCNN, WEIGHTS, Step, configure_step, recomputes_flipped_images, with_solver_of
from .step_trainer import build_step_model
from .world_size import describe_scaling, number_of_processes

__all__ = ["Plan", "make_plan"]


@dataclass
class Plan:
    """What a run will do.

    Attributes:
        steps: one entry a step, in the form of the manifest.
        problems: what must be mended before the run can start, one sentence each.
        remarks: what a person should know though nothing is wrong.
    """

    steps: List[Dict[str, Any]] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = []
        resumed = any(entry["state"] != "pending" for entry in self.steps)  # of a new run there is nothing to tell
        for entry in self.steps:
            start = "\n".join(f"{component}: {source}" for component, source in entry["started_from"].items())
            rates = f"{entry['base_lr']:g}" + "".join(
                f"\n{entry['base_lr'] * entry['gamma'] ** (i + 1):g} from {drop}"
                for i, drop in enumerate(entry["lr_steps"])
            )
            parameters = entry["parameters"]
            proposals = ([f"in: {entry['proposals_in']}"] if entry["proposals_in"] else []) + [
                f"out: {name}" for name in entry["proposals_out"]
            ]
            rows.append(
                [
                    entry["name"] + (f"\n({entry['state']})" if resumed else ""),
                    start,
                    "\n".join(entry["trained"]) + f"\n({parameters['trained']:,})",
                    "\n".join(entry["frozen"] or ["-"]) + f"\n({parameters['frozen']:,})",
                    "\n".join(proposals),
                    f"{entry['max_iter']} x {entry['ims_per_batch']}",
                    rates,
                ]
            )
        header = [
            "step",
            "starts from",
            "trained\n(parameters)",
            "frozen\n(parameters)",
            "proposals",
            "iterations\nx images",
            "learning rate",
        ]
        lines = ["Plan", tabulate(rows, header, tablefmt="grid", disable_numparse=True)] if rows else []
        lines += [f"note: {remark}" for remark in self.remarks]
        lines += [f"TO MEND: {problem}" for problem in self.problems]
        return "\n".join(lines)


def build_meta_model(cfg: CfgNode) -> torch.nn.Module:
    """Build the model of `cfg` without storage: every tensor is on the "meta" device."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_step_model(cfg)


def _describe_sources(cfg: CfgNode, step: Step) -> Dict[str, str]:
    described = {}
    for component, source in step.init.items():
        if source == WEIGHTS:
            source = f"weights {cfg.MODEL.WEIGHTS}" if cfg.MODEL.WEIGHTS else "new (no MODEL.WEIGHTS)"
        described[component] = source
    return described


def _proposals_out(cfg: CfgNode, step: Step) -> List[str]:
    if step.kind == FAST_RCNN:
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


def _plan_step(
    cfg: CfgNode,
    step: Step,
    states: Dict[str, Mapping[str, torch.Tensor]],
    checkpoint: Optional[Mapping[str, Any]],
    used: Set[str],
    plan: Plan,
) -> Tuple[Dict[str, Any], Dict[str, torch.Tensor]]:
    """Return the step's entry and its model's state dict; adds to `used` the names taken from MODEL.WEIGHTS."""
    step_cfg = configure_step(cfg, step, cfg.OUTPUT_DIR)
    model = build_meta_model(step_cfg)
    state = model.state_dict()
    init = {c: s for c, s in step.init.items() if s == NEW or s in states or (s == WEIGHTS and checkpoint)}

    def read_source(source: str) -> Mapping[str, torch.Tensor]:
        if source != WEIGHTS:
            return states[source]
        return fit_to_model(checkpoint, model, names_from(WEIGHTS, state, init))["model"]

    try:
        matched = match_initial_weights(state, init, read_source)
        used.update(name for name, source in matched.source.items() if source == WEIGHTS)
        _remark_on_not_found(step, matched, plan.remarks)
    except CheckpointError as error:
        plan.problems.append(f"{step.name}: {error}".replace("in weights,", f"in MODEL.WEIGHTS {cfg.MODEL.WEIGHTS},"))
    scaling = describe_scaling(with_solver_of(cfg, step.solver).SOLVER, step_cfg.SOLVER)
    plan.remarks += [f"{step.name}: {scaling}"] if scaling else []
    counts = {"trained": 0, "frozen": 0}
    for parameter in model.parameters():
        counts["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    entry = {
        "name": step.name,
        "kind": step.kind,
        "state": "pending",
        "started_from": _describe_sources(cfg, step),
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
    return entry, state


def make_plan(cfg: CfgNode, schedule: Schedule, problems: List[str]) -> Plan:
    """Plan every step of `schedule` and check its weights against its model's shapes.

    Args:
        cfg: the run's config.
        schedule: its schedule.
        problems: those already known (config, data); they come first in the plan's.
    """
    plan = Plan(problems=list(problems))
    states: Dict[str, Mapping[str, torch.Tensor]] = {}
    checkpoint: Optional[Mapping[str, Any]] = None
    used: Set[str] = set()
    if cfg.MODEL.WEIGHTS:
        try:
            checkpoint = read_checkpoint(cfg.MODEL.WEIGHTS)
            record = checkpoint.get("frcnn_alt", {})
            disagreement = pixel_disagreement(record, pixels_of_config(cfg), cfg.MODEL.WEIGHTS)
            plan.problems += [disagreement] if disagreement else []
        except CheckpointError as error:
            if not any(cfg.MODEL.WEIGHTS in problem for problem in plan.problems):
                plan.problems.append(str(error))
    else:
        plan.remarks.append("MODEL.WEIGHTS is empty: steps 1 and 2 start from random weights, unlike the paper's.")
    for step in schedule.steps:
        try:
            entry, states[step.name] = _plan_step(cfg, step, states, checkpoint, used, plan)
        except Exception as error:  # whatever a component's constructor objects to is the user's to mend
            if not problems:  # else it may be what these say already
                plan.problems.append(f"The network of {step.name} cannot be built: {type(error).__name__}: {error}")
            break  # the other steps' networks have the same components
        plan.steps.append(entry)
    if checkpoint and used and len(plan.steps) == len(schedule.steps):
        _remark_on_not_used(cfg.MODEL.WEIGHTS, checkpoint, used, plan.remarks)
    if number_of_processes() > 1:
        plan.remarks.append(f"{number_of_processes()} processes share each batch.")
    if not cfg.DATASETS.TEST:
        plan.remarks.append("DATASETS.TEST is empty: the final network will not be evaluated.")
    return plan
