"""The schedules of the paper, and what lies around them (paper sections 3.2 and 4.1; SPEC 6 and 7)."""

from typing import List

from detectron2.config import CfgNode

from ..checkpointing import NEW
from .network import FAST_RCNN, JOINT, ONE_STAGE, RPN, UNSHARED
from .schedule import SCHEDULE_REGISTRY, Schedule, WholeNetwork
from .step import FILES, WEIGHTS, Step

__all__ = ["MOST_ROUNDS", "fast_rcnn", "four_step", "joint", "one_stage", "rpn", "unshared"]

_DETECTOR_FROM_WEIGHTS = {"backbone": WEIGHTS, "roi_heads": WEIGHTS, "roi_heads.box_predictor": NEW}


def _first_steps() -> List[Step]:
    """Two networks that share nothing: both begin with the initial weights."""
    return [
        _rpn_alone("step1_rpn"),
        Step(
            "step2_fast_rcnn",
            FAST_RCNN,
            "STEP2",
            # From the initial weights again, not from step 1.
            _DETECTOR_FROM_WEIGHTS,
            ("backbone", "roi_heads"),
            proposals_from="step1_rpn",
        ),
    ]


def _rpn_alone(name: str) -> Step:
    init = {"backbone": WEIGHTS, "proposal_generator": NEW}
    return Step(name, RPN, "STEP1", init, ("backbone", "proposal_generator"))


def _round(number: int, rpn_head: str, detector: str, box_predictor: str) -> List[Step]:
    """Steps 3 and 4 of the paper, or their like in a further round; the convolutions of step 2 stand still."""
    rpn_step = Step(
        f"step{number}_rpn",
        RPN,
        "STEP3",
        {"backbone": "step2_fast_rcnn", "proposal_generator": rpn_head},
        ("proposal_generator",),
    )
    init = {"backbone": "step2_fast_rcnn", "roi_heads": detector}
    detector_step = Step(
        f"step{number + 1}_fast_rcnn",
        FAST_RCNN,
        "STEP4",
        {**init, "roi_heads.box_predictor": NEW} if box_predictor == NEW else init,
        ("roi_heads",),
        proposals_from=rpn_step.name,
    )
    return [rpn_step, detector_step]


# Each is a step of days with a network of its own in the plan; the paper runs one.
MOST_ROUNDS = 100


@SCHEDULE_REGISTRY.register()
def four_step(cfg: CfgNode) -> Schedule:
    """The paper's 4-step alternating training with shared features (paper section 3.2, SPEC 6.1 and 6.3).

    With SCHEDULE.ROUNDS above 1, steps 3 and 4 are followed by their like, which go on with what they have learnt.
    """
    if cfg.SCHEDULE.ROUNDS > MOST_ROUNDS:
        raise ValueError(f"SCHEDULE.ROUNDS is {cfg.SCHEDULE.ROUNDS}, and at most {MOST_ROUNDS} rounds are planned.")
    steps = _first_steps()
    steps += _round(3, cfg.SCHEDULE.STEP3_RPN_HEAD, "step2_fast_rcnn", cfg.SCHEDULE.STEP4_BOX_PREDICTOR)
    for further in range(1, cfg.SCHEDULE.ROUNDS):
        *_, rpn_before, detector_before = (step.name for step in steps)
        steps += _round(3 + 2 * further, rpn_before, detector_before, detector_before)
    *_, last_rpn, last_detector = steps
    return Schedule(
        tuple(steps),
        {"backbone": "step2_fast_rcnn", "proposal_generator": last_rpn.name, "roi_heads": last_detector.name},
    )


@SCHEDULE_REGISTRY.register()
def unshared(cfg: CfgNode) -> Schedule:
    """The first two steps: a RPN and a detector with convolutions of their own, run one after the other (SPEC 6.4)."""
    assembly = {
        "backbone": "step2_fast_rcnn",
        "proposal_generator": WholeNetwork("step1_rpn"),
        "roi_heads": "step2_fast_rcnn",
    }
    return Schedule(tuple(_first_steps()), assembly, UNSHARED)


@SCHEDULE_REGISTRY.register()
def rpn(cfg: CfgNode) -> Schedule:
    """A RPN alone, with its proposals (paper section 3.1)."""
    step = _rpn_alone("step1_rpn")
    return Schedule((step,), dict.fromkeys(step.components, step.name), RPN)


@SCHEDULE_REGISTRY.register()
def fast_rcnn(cfg: CfgNode) -> Schedule:
    """Fast R-CNN alone, on the proposal sets that DATASETS.PROPOSAL_FILES_TRAIN and _TEST name (SPEC 9).

    It is as long as step 2 of the four, which it is: SCHEDULE.STEP2.
    """
    trained = ("backbone", "roi_heads")
    step = Step("step1_fast_rcnn", FAST_RCNN, "STEP2", _DETECTOR_FROM_WEIGHTS, trained, proposals_from=FILES)
    return Schedule((step,), dict.fromkeys(step.components, step.name), FAST_RCNN)


@SCHEDULE_REGISTRY.register()
def one_stage(cfg: CfgNode) -> Schedule:
    """Fast R-CNN on all sliding windows, without a stage that proposes (paper section 4.1, Table 10; SPEC 8.8).

    MODEL.PROPOSAL_GENERATOR.NAME is "DenseWindows". It is as long as any Fast R-CNN alone: SCHEDULE.STEP2.
    """
    step = Step("step1_one_stage", ONE_STAGE, "STEP2", _DETECTOR_FROM_WEIGHTS, ("backbone", "roi_heads"))
    return Schedule((step,), dict.fromkeys(step.components, step.name), ONE_STAGE)


@SCHEDULE_REGISTRY.register()
def joint(cfg: CfgNode) -> Schedule:
    """Everything in one training (paper section 3.2, ii; with MODEL.RPN.PROPOSAL_GRADIENT iii; SPEC 7)."""
    init = {**_DETECTOR_FROM_WEIGHTS, "proposal_generator": NEW}
    step = Step("step1_joint", JOINT, "STEP1", init, ("backbone", "proposal_generator", "roi_heads"))
    return Schedule((step,), dict.fromkeys(step.components, step.name))
