"""A Step: some components of a R-CNN are trained, the rest is frozen, from named initial weights, on ground truth or on
a proposal set (paper section 3.2). Nothing in here builds or runs a model; a step is turned into a detectron2 config.
"""

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple

from detectron2.config import CfgNode

from ..checkpointing import NEW
from ..modeling.proposal_generator import ProposalSwitches
from .kind_checks import kind_problems
from .network import FAST_RCNN, JOINT, NETWORKS, ONE_STAGE, RPN, configure_network
from .world_size import scale_to_processes

__all__ = ["FILES", "WEIGHTS", "Step", "configure_step", "recomputes_flipped_images", "with_solver_of"]

# The source of initial weights that stands for the file MODEL.WEIGHTS.
WEIGHTS = "weights"
# The source of proposals that stands for the sets which DATASETS.PROPOSAL_FILES_TRAIN and _TEST name.
FILES = "files"

_KINDS = (RPN, FAST_RCNN, ONE_STAGE, JOINT)


@dataclass(frozen=True)
class Step:
    """One step of a schedule.

    Attributes:
        name: its folder's name in the run, and what later steps call it.
        kind: ``RPN``, ``FAST_RCNN``, ``ONE_STAGE`` or ``JOINT``; decides which components its network has.
        solver: the node of ``cfg.SCHEDULE`` with its images per batch, iterations and learning rate ("STEP1").
        init: component -> ``NEW``, ``WEIGHTS`` or the name of an earlier step; the longest prefix of a parameter's name
            decides ("roi_heads.box_predictor" before "roi_heads").
        trained: the components that are trained; the network's others are frozen, and so is what
            MODEL.FREEZE_COMPONENTS and MODEL.FREEZE_PATTERNS name in these.
        proposals_from: the earlier RPN step whose proposals it trains on, or ``FILES`` (Fast R-CNN steps only).
        opts: config keys and values of this step alone, one after the other; ``SCHEDULE.STEPn.OPTS`` comes after them.
    """

    name: str
    kind: str
    solver: str
    init: Dict[str, str]
    trained: Tuple[str, ...]
    proposals_from: Optional[str] = None
    opts: Tuple[Any, ...] = ()

    def __post_init__(self):
        if self.kind not in _KINDS:
            raise ValueError(f"{self.name}: unknown kind of step {self.kind!r}; it is one of {', '.join(_KINDS)}.")
        foreign = [c for c in self.trained if c not in self.components]
        if foreign or not self.trained:
            raise ValueError(
                f"{self.name} trains {', '.join(foreign) or 'nothing'}, but a network of kind {self.kind!r} has "
                f"{', '.join(self.components)}: name some of these."
            )
        foreign = [c for c in self.init if c.split(".")[0] not in self.components]
        if foreign:
            raise ValueError(
                f"{self.name} has init for {', '.join(foreign)}, but a network of kind {self.kind!r} has "
                f"{', '.join(self.components)}: name some of these."
            )
        if (self.kind == FAST_RCNN) != (self.proposals_from is not None):
            raise ValueError(f"{self.name}: Fast R-CNN steps, and they alone, need proposals_from.")

    @property
    def components(self) -> Tuple[str, ...]:
        """The components of this step's network."""
        return NETWORKS[self.kind]

    @property
    def makes_proposals(self) -> bool:
        """Whether it leaves proposal sets behind."""
        return self.kind == RPN

    @property
    def frozen(self) -> Tuple[str, ...]:
        """The components of this step's network that are not trained."""
        return tuple(component for component in self.components if component not in self.trained)

    @property
    def needs(self) -> Tuple[str, ...]:
        """The earlier steps whose outputs this one starts from, sorted."""
        return tuple(sorted({*self.init.values(), self.proposals_from} - {NEW, WEIGHTS, FILES, None}))


def recomputes_flipped_images(cfg: CfgNode) -> bool:
    """Whether a run has proposals of its own for flipped training images (SPEC 4.5): not if none is ever flipped."""
    return cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES == "recomputed" and cfg.INPUT.RANDOM_FLIP == "horizontal"


def _set_solver(step_cfg: CfgNode, cfg: CfgNode, name: str) -> None:
    if cfg.SCHEDULE.SOLVER_OF_STEPS == "own":
        for key in ("IMS_PER_BATCH", "MAX_ITER", "BASE_LR"):
            step_cfg.SOLVER[key] = cfg.SCHEDULE[name][key]
        step_cfg.SOLVER.STEPS = tuple(cfg.SCHEDULE[name].STEPS)


def with_solver_of(cfg: CfgNode, step: Step) -> CfgNode:
    """Return a copy of the run's config with SOLVER as `step` asks for it, not yet scaled to the processes.

    Raises:
        KeyError, AssertionError, ValueError: OPTS are no pairs of a key and a value that it takes.
    """
    step_cfg = cfg.clone()
    step_cfg.defrost()
    _set_solver(step_cfg, cfg, step.solver)
    step_cfg.merge_from_list([*step.opts, *cfg.SCHEDULE[step.solver].OPTS])
    problems = kind_problems(step_cfg)
    if problems:
        raise ValueError(" ".join(problems))
    return step_cfg


def _frozen_components(step_cfg: CfgNode, step: Step) -> Tuple[str, ...]:
    """What the step does not train and what the config freezes besides, without the components of other networks."""
    elsewhere = {component for network in NETWORKS.values() for component in network} - set(step.components)
    asked_for = [name for name in step_cfg.MODEL.FREEZE_COMPONENTS if name.split(".")[0] not in elsewhere]
    return tuple(dict.fromkeys((*step.frozen, *asked_for)))


def configure_step(
    cfg: CfgNode,
    step: Step,
    output_dir: str,
    proposal_files: Sequence[str] = (),
    proposal_files_test: Sequence[str] = (),
) -> CfgNode:
    """Return the config of one step: an ordinary detectron2 config, frozen, that says all that the step does.

    Its SOLVER is scaled to the number of processes, where SOLVER.REFERENCE_WORLD_SIZE asks for it.

    Args:
        cfg: the run's config.
        step: the step.
        output_dir: the step's own folder.
        proposal_files: for a Fast R-CNN step, the proposal sets of DATASETS.TRAIN, in its order.
        proposal_files_test: the same for DATASETS.TEST.
    """
    step_cfg = cfg.clone()
    step_cfg.defrost()
    step_cfg.OUTPUT_DIR = output_dir
    _set_solver(step_cfg, cfg, step.solver)
    step_cfg.TEST.EXPECTED_RESULTS = []  # the run's are those of its final network
    # The ablations at test time are the final network's; here they would change what a detector is trained on.
    ProposalSwitches().write_to(step_cfg)
    configure_network(step_cfg, step.kind)
    if step.kind == RPN:
        step_cfg.MODEL.RPN.PROPOSALS_IN_TRAINING = False
        step_cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = cfg.SCHEDULE.PROPOSALS.PRE_NMS_TOPK
        step_cfg.MODEL.RPN.POST_NMS_TOPK_TEST = cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK
    elif step.kind == FAST_RCNN:
        step_cfg.DATASETS.PROPOSAL_FILES_TRAIN = tuple(proposal_files)
        step_cfg.DATASETS.PROPOSAL_FILES_TEST = tuple(proposal_files_test)
    step_cfg.merge_from_list([*step.opts, *cfg.SCHEDULE[step.solver].OPTS])
    step_cfg.MODEL.FREEZE_COMPONENTS = _frozen_components(step_cfg, step)
    step_cfg = scale_to_processes(step_cfg)
    step_cfg.freeze()
    return step_cfg
