"""A Schedule: a list of steps, and which step each component of the final network comes from (paper section 3.2).

A schedule is a function ``cfg -> Schedule`` in ``SCHEDULE_REGISTRY``, chosen by ``SCHEDULE.NAME``; other projects
register their own.
"""

from dataclasses import dataclass
from typing import Dict, List, Tuple

from detectron2.config import CfgNode
from fvcore.common.registry import Registry

from ..checkpointing import NEW
from .step import FAST_RCNN, RPN, WEIGHTS, Step

__all__ = ["SCHEDULE_REGISTRY", "Schedule", "build_schedule"]

SCHEDULE_REGISTRY = Registry("SCHEDULE")
SCHEDULE_REGISTRY.__doc__ = """
Registry of training schedules. The registered function is called with `cfg` and returns a :class:`Schedule`.
"""


@dataclass(frozen=True)
class Schedule:
    """Steps in the order they run, and where the final network's components come from.

    Attributes:
        steps: the steps; each may start only from steps before it.
        assembly: component of the final network -> name of the step that gives it.
    """

    steps: Tuple[Step, ...]
    assembly: Dict[str, str]

    def __post_init__(self):
        earlier: List[str] = []
        for step in self.steps:
            missing = [name for name in step.needs if name not in earlier]
            if missing:
                raise ValueError(f"{step.name} starts from {missing}, which do not run before it.")
            if step.name in earlier:
                raise ValueError(f"Two steps are called {step.name}.")
            earlier.append(step.name)
        unknown = [name for name in self.assembly.values() if name not in earlier]
        if unknown:
            raise ValueError(f"The final network needs {unknown}, which are not among the steps {earlier}.")

    def __getitem__(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


def build_schedule(cfg: CfgNode) -> Schedule:
    """Build the schedule that ``SCHEDULE.NAME`` names.

    Raises:
        KeyError: no schedule of that name is registered.
    """
    return SCHEDULE_REGISTRY.get(cfg.SCHEDULE.NAME)(cfg)


@SCHEDULE_REGISTRY.register()
def four_step(cfg: CfgNode) -> Schedule:
    """The paper's 4-step alternating training with shared features (paper section 3.2, SPEC 6.1 and 6.3)."""
    head_of_step4 = {"backbone": "step2_fast_rcnn", "roi_heads": "step2_fast_rcnn"}
    if cfg.SCHEDULE.STEP4_BOX_PREDICTOR == NEW:
        head_of_step4["roi_heads.box_predictor"] = NEW
    steps = (
        Step(
            "step1_rpn",
            RPN,
            "STEP1",
            {"backbone": WEIGHTS, "proposal_generator": NEW},
            ("backbone", "proposal_generator"),
        ),
        Step(
            "step2_fast_rcnn",
            FAST_RCNN,
            "STEP2",
            # From the initial weights again, not from step 1: the two networks share nothing yet.
            {"backbone": WEIGHTS, "roi_heads": WEIGHTS, "roi_heads.box_predictor": NEW},
            ("backbone", "roi_heads"),
            proposals_from="step1_rpn",
        ),
        Step(
            "step3_rpn",
            RPN,
            "STEP3",
            {"backbone": "step2_fast_rcnn", "proposal_generator": cfg.SCHEDULE.STEP3_RPN_HEAD},
            ("proposal_generator",),
        ),
        Step("step4_fast_rcnn", FAST_RCNN, "STEP4", head_of_step4, ("roi_heads",), proposals_from="step3_rpn"),
    )
    return Schedule(
        steps,
        {"backbone": "step2_fast_rcnn", "proposal_generator": "step3_rpn", "roi_heads": "step4_fast_rcnn"},
    )
