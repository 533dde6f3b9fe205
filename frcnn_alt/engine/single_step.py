"""One ordinary training of a config as it stands, with this package's data sets, evaluators and exact resume."""

import logging
from typing import Any, Dict, List

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from ..checkpointing import (
    CheckpointError,
    SafeCheckpointer,
    check_pixels,
    fit_to_model,
    match_initial_weights,
    pixels_of_config,
    read_checkpoint,
)
from ..data import DatasetError, check_datasets, load_training_dicts
from .checks import check_config
from .class_checks import class_problems, remarks_on_other_classes
from .disk_space import bytes_of_network, check_disk, disk_of_training
from .evaluates import Evaluates
from .file_checks import overwritten_file_problems
from .joint_checks import joint_training_problems
from .manifest import PENDING
from .meta_model import build_meta_model
from .plan import Plan, refuse_to_start
from .remarks import remarks_on_not_found
from .statistics import learns_deltas, measure_proposal_statistics, measure_region_statistics
from .step import WEIGHTS
from .step_proposals import verify_content
from .step_trainer import StepTrainer
from .stored_proposals import check_proposal_sets, open_proposal_sets
from .trainer_registry import TRAINER_REGISTRY
from .window_statistics import knows_its_windows, measure_window_statistics
from .world_size import describe_scaling, number_of_processes, scale_to_processes

__all__ = ["SingleStepTrainer", "data_problems"]

logger = logging.getLogger(__name__)


def data_problems(cfg: CfgNode) -> List[str]:
    """Return what is malformed in the data sets of `cfg`, one text for all of it, or nothing."""
    try:
        check_datasets(cfg)
    except DatasetError as error:
        return [str(error)]
    return []


@TRAINER_REGISTRY.register()
class SingleStepTrainer(Evaluates):
    """Trains all components of the config together on its ground truth, from MODEL.WEIGHTS.

    With a detector's config this is the joint training of paper section 3.2 (SPEC 7), approximate (ii) unless
    MODEL.RPN.PROPOSAL_GRADIENT lets the detector's gradient flow through the proposals (iii). What targets are
    normalised by is measured first, where that is possible: for the RPN always, for the detector if it trains on stored
    proposals or on dense windows.

    Args:
        cfg: any detectron2 config with this package's keys. A resume is exact if it sets SEED.
        resume: go on from the last checkpoint in cfg.OUTPUT_DIR.
    """

    def __init__(self, cfg: CfgNode, *, resume: bool = False):
        self.given_cfg = cfg.clone()
        self.cfg = scale_to_processes(cfg)
        self.cfg.freeze()
        self.resume = resume

    def plan(self) -> Plan:
        """Plan the training as one step and check all of it: keys, data sets, weights, shapes."""
        plan = Plan(problems=check_config(self.given_cfg) + data_problems(self.cfg))
        plan.problems += [] if self.resume else overwritten_file_problems(self.cfg)
        scaling = describe_scaling(self.given_cfg.SOLVER, self.cfg.SOLVER)
        plan.remarks += [f"The training is {scaling}"] if scaling else []
        if number_of_processes() > 1:
            plan.remarks.append(f"{number_of_processes()} processes share each batch.")
        if not plan.problems:  # else the data sets cannot be loaded
            plan.problems += check_proposal_sets(self.cfg, "TRAIN") + check_proposal_sets(self.cfg, "TEST")
        try:
            model = build_meta_model(self.cfg)
        except Exception as error:  # whatever a component's constructor objects to is the user's to mend
            if not plan.problems:  # else it may be what these say already
                plan.problems.append(f"The network cannot be built: {type(error).__name__}: {error}")
            return plan
        if hasattr(model, "roi_heads"):
            plan.problems += class_problems(self.cfg)
            plan.problems += [] if self.cfg.MODEL.LOAD_PROPOSALS else joint_training_problems(model)
        _check_weights(self.cfg, model, plan)
        plan.steps.append(_plan_entry(self.cfg, model))
        if not plan.problems:  # else the data sets may not be there
            need = disk_of_training(self.cfg, bytes_of_network(model), self.cfg.SOLVER.MAX_ITER)
            disk = check_disk(need, self.cfg.OUTPUT_DIR, "keep fewer detections (TEST.DETECTIONS_PER_IMAGE)")
            plan.needs, plan.problems = disk["told"], disk["problems"]
        return plan

    def train(self) -> Dict[str, Any]:
        """Train, then evaluate on DATASETS.TEST.

        Raises:
            ConfigError: there is something to mend.
        """
        plan = self.plan()
        refuse_to_start(plan)
        logger.info("\n%s", plan)
        seed = self.cfg.SEED if self.cfg.SEED >= 0 else comm.shared_random_seed() % 2**31
        verify_content(self.cfg.DATASETS.PROPOSAL_FILES_TRAIN if self.cfg.MODEL.LOAD_PROPOSALS else ())
        trainer = StepTrainer(self.cfg, seed=seed, resume=self.resume, initialize=self._initialize)
        trainer.train()
        return self.test(self.cfg, trainer.unwrapped_model) if self.cfg.DATASETS.TEST else {}

    def _initialize(self, model: nn.Module) -> None:
        SafeCheckpointer(model).load(self.cfg.MODEL.WEIGHTS)
        dicts = load_training_dicts(self.cfg)
        if learns_deltas(model, "proposal_generator"):
            measure_proposal_statistics(self.cfg, model, dicts)
        if learns_deltas(model, "roi_heads") and self.cfg.MODEL.LOAD_PROPOSALS:
            sets, about = open_proposal_sets(self.cfg, "TRAIN"), self.cfg.DATASETS
            topk, crowd_thresh = about.PRECOMPUTED_PROPOSAL_TOPK_TRAIN, about.PROPOSAL_CROWD_THRESH
            measure_region_statistics(model, dicts, sets, topk, crowd_thresh=crowd_thresh)
        elif learns_deltas(model, "roi_heads") and knows_its_windows(model):
            measure_window_statistics(self.cfg, model, dicts)


def _check_weights(cfg: CfgNode, model: nn.Module, plan: Plan) -> None:
    if not cfg.MODEL.WEIGHTS or plan.problems:
        return  # that there is no such file is among the problems
    try:
        checkpoint = read_checkpoint(cfg.MODEL.WEIGHTS)
        check_pixels(checkpoint.get("frcnn_alt", {}), pixels_of_config(cfg), cfg.MODEL.WEIGHTS)
        if checkpoint.get("matching_heuristics"):
            return  # detectron2's checkpointer finds out by itself which tensor is which
        fitted = fit_to_model(checkpoint, model)["model"]
        matched = match_initial_weights(model.state_dict(), {"": WEIGHTS}, lambda source: fitted)
    except CheckpointError as error:
        plan.problems.append(str(error).replace("in weights,", f"in MODEL.WEIGHTS {cfg.MODEL.WEIGHTS},"))
        return
    plan.remarks += remarks_on_other_classes(cfg, checkpoint.get("frcnn_alt", {}))
    plan.remarks += remarks_on_not_found("The training", {cfg.MODEL.WEIGHTS: matched.not_found.get(WEIGHTS, [])})


def _plan_entry(cfg: CfgNode, model: nn.Module) -> Dict[str, Any]:
    counts = {"trained": 0, "frozen": 0}
    components = []
    for name, component in model.named_children():
        parameters = list(component.parameters())
        if any(parameter.requires_grad for parameter in parameters):
            components.append(name)
        for parameter in parameters:
            counts["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    return {
        "name": "one training",
        "kind": "joint",
        "state": PENDING,
        "started_from": {"all": f"weights {cfg.MODEL.WEIGHTS}" if cfg.MODEL.WEIGHTS else "new (no MODEL.WEIGHTS)"},
        "trained": components,
        "frozen": list(cfg.MODEL.FREEZE_COMPONENTS),
        "parameters": counts,
        "ims_per_batch": cfg.SOLVER.IMS_PER_BATCH,
        "max_iter": cfg.SOLVER.MAX_ITER,
        "lr_steps": list(cfg.SOLVER.STEPS),
        "base_lr": cfg.SOLVER.BASE_LR,
        "gamma": cfg.SOLVER.GAMMA,
        "proposals_in": ", ".join(cfg.DATASETS.PROPOSAL_FILES_TRAIN) if cfg.MODEL.LOAD_PROPOSALS else None,
        "proposals_out": [],
    }
