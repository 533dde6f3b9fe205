"""Schedules that cannot work are refused before anything starts, by --dry-run too, with step, key and mend."""

import os
from contextlib import contextmanager
from dataclasses import replace

from frcnn_alt.engine import FAST_RCNN, RPN, SCHEDULE_REGISTRY, WEIGHTS, AlternatingTrainer, ConfigError, Schedule, Step

import pytest
import torch
from miniature import tiny_config

RPN_INIT = {"backbone": WEIGHTS, "proposal_generator": "new"}
DETECTOR_INIT = {"backbone": WEIGHTS, "roi_heads": WEIGHTS, "roi_heads.box_predictor": "new"}
BOTH = ("backbone", "proposal_generator")


def first():
    return Step("step1_rpn", RPN, "STEP1", RPN_INIT, BOTH)


def detector(name="step2_fast_rcnn", proposals="step1_rpn", **init):
    return Step(
        name, FAST_RCNN, "STEP2", {**DETECTOR_INIT, **init}, ("backbone", "roi_heads"), proposals_from=proposals
    )


WHOLE = {"backbone": "step2_fast_rcnn", "proposal_generator": "step1_rpn", "roi_heads": "step2_fast_rcnn"}


@contextmanager
def registered(function):
    SCHEDULE_REGISTRY._do_register("impossible", lambda cfg: function())
    try:
        yield
    finally:
        SCHEDULE_REGISTRY._obj_map.pop("impossible")


@pytest.fixture
def config(shapes, tmp_path):
    return tiny_config(shapes, tmp_path / "run")


def refused(cfg):
    """The problems, which the dry run and the run tell alike; nothing has been written."""
    problems = AlternatingTrainer(cfg).plan().problems
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    with pytest.raises(ConfigError) as error:
        AlternatingTrainer(cfg).train()
    assert all(problem in str(error.value) for problem in problems)
    assert os.listdir(cfg.OUTPUT_DIR) == []
    return problems


@pytest.mark.parametrize(
    "function, message",
    [
        (  # proposals that nobody makes
            lambda: Schedule((first(), detector(), detector("step3", "step2_fast_rcnn")), WHOLE),
            "step3 has proposals_from 'step2_fast_rcnn', but that step makes none.*name a step of kind 'rpn', or FILES",
        ),
        (
            lambda: Schedule((detector(),), WHOLE),
            "step2_fast_rcnn starts from step1_rpn, which no step before it is called: they are none",
        ),
        (
            lambda: Schedule((first(), detector(backbone="step7")), WHOLE),
            "step2_fast_rcnn starts from step7, which no step before it is called: they are step1_rpn",
        ),
        (
            lambda: Schedule((Step("a", RPN, "STEP1", RPN_INIT, ("backbone", "roi_heads")),), WHOLE),
            "a trains roi_heads, but a network of kind 'rpn' has backbone, proposal_generator: name some of these",
        ),
        (
            lambda: Schedule((Step("a", RPN, "STEP1", {**RPN_INIT, "neck": "new"}, BOTH),), WHOLE),
            "a has init for neck, but a network of kind 'rpn' has backbone, proposal_generator",
        ),
        (
            lambda: Schedule((Step("a", RPN, "STEP1", RPN_INIT, ()),), WHOLE),
            "a trains nothing, but",
        ),
        (
            lambda: Schedule((first(),), {"backbone": "step1_rpn"}),
            "assembly has no proposal_generator and no roi_heads",
        ),
        (lambda: Schedule((first(), detector()), {**WHOLE, "backbone": "two"}), "assembly names two, which no step is"),
    ],
)
def test_schedules_of_ones_own(function, message, config):
    config.SCHEDULE.NAME = "impossible"
    with registered(function):
        (problem,) = refused(config)
    assert problem.startswith("SCHEDULE.NAME 'impossible': ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problem)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SCHEDULE.NAME", "five_step", "SCHEDULE.NAME is 'five_step', which is not registered; registered are"),
        ("SCHEDULE.STEP3.MAX_ITER", 0, "SCHEDULE.STEP3.MAX_ITER is 0: a training needs at least 1 iteration"),
        ("SCHEDULE.ROUNDS", 0, "SCHEDULE.ROUNDS is 0: steps 3 and 4 are run once or more often"),
        (
            "SCHEDULE.ROUNDS",
            10**9,
            "SCHEDULE.ROUNDS is 1000000000: steps 3 and 4 are run once or more often, up to 100",
        ),
        ("SCHEDULE.SOLVER_OF_STEPS", "mine", "SCHEDULE.SOLVER_OF_STEPS is 'mine'; it is one of 'own', 'SOLVER'"),
        (
            "SCHEDULE.STEP2.OPTS",
            ["MODEL.FREEZE_COMPONENTS", ["backbone", "roi_heads"]],
            "step2_fast_rcnn has nothing to",
        ),
        ("SCHEDULE.STEP1.OPTS", ["MODEL.FREEZE_COMPONENTS", ["neck"]], "step1_rpn cannot.*no 'neck'; it has backbone"),
        ("SCHEDULE.STEP4.OPTS", ["MODEL.FREEZE_COMPONENT", []], "SCHEDULE.STEP4.OPTS: .*MODEL.FREEZE_COMPONENT"),
        ("MODEL.FREEZE_PATTERNS", ["*"], r"step1_rpn cannot be built.*MODEL.FREEZE_PATTERNS: '\*' is no regular"),
        (
            "MODEL.FREEZE_PATTERNS",
            ["."],
            "step1_rpn has nothing to train: MODEL.FREEZE_COMPONENTS and MODEL.FREEZE_PATT",
        ),
        ("SOLVER.LOSS_WEIGHTS", ["loss_cls"], "SOLVER.LOSS_WEIGHTS is .*names of losses and weights"),
        ("SCHEDULE.STEP2.OPTS", ["SOLVER.LOSS_WEIGHTS", ["loss_cls", -1]], "step2_fast_rcnn: SOLVER.LOSS_WEIGHTS is"),
        ("SCHEDULE.STEP1.OPTS", ["SOLVER.BASE_LR", 0.0], "step1_rpn: SOLVER.BASE_LR is 0.0"),
        ("SCHEDULE.STEP1.OPTS", ["SEED"], "SCHEDULE.STEP1.OPTS holds 1 entries"),
        ("SCHEDULE.STEP1.OPTS", [1, 2], r"SCHEDULE.STEP1.OPTS holds 2 entries, \[1, 2\]; it takes 'KEY', value"),
        ("SCHEDULE.STEP2.OPTS", ["INPUT.FORMAT", "RGB"], "SCHEDULE.STEP2.OPTS must not set INPUT.FORMAT"),
        ("SCHEDULE.STEP4.OPTS", ["INPUT.RANDOM_FLIP", "sideways"], "step4_fast_rcnn: INPUT.RANDOM_FLIP is 'sideways'"),
        (
            "SCHEDULE.STEP1.OPTS",
            ["OUTPUT_DIR", "x"],
            "SCHEDULE.STEP1.OPTS must not set OUTPUT_DIR, which all steps share",
        ),
        (
            "SCHEDULE.STEP3.OPTS",
            ["DATASETS.VOC_LAYOUT.ROOT", "x", "MODEL.WEIGHTS", "y"],
            "SCHEDULE.STEP3.OPTS must not set DATASETS.VOC_LAYOUT.ROOT, MODEL.WEIGHTS, which all steps share",
        ),
    ],
)
def test_keys_of_the_papers_schedule(key, value, message, config):
    config.merge_from_list([key, value])
    text = "\n".join(refused(config))
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text)


def test_opts_of_a_step_of_ones_own_are_checked_too(config):
    config.SCHEDULE.NAME = "impossible"
    opts = ("SOLVER.MAX_ITER", 0, "SOLVER.LOSS_WEIGHTS", ["loss_rpn_cls", -1])
    with registered(lambda: Schedule((replace(first(), opts=opts), detector()), WHOLE)):
        problems = refused(config)
    assert problems[0].startswith("step1_rpn: SOLVER.MAX_ITER is 0")
    assert problems[1].startswith("step1_rpn: SOLVER.LOSS_WEIGHTS is ['loss_rpn_cls', -1]")
    with registered(lambda: Schedule((replace(first(), opts=("OUTPUT_DIR", "x")), detector()), WHOLE)):
        assert refused(config) == [
            "The opts of step1_rpn must not set OUTPUT_DIR, which all steps share: set it for the whole run."
        ]


def test_a_schedule_that_fails_to_be_built_is_told_once(config):
    config.SCHEDULE.NAME = "impossible"
    config.MODEL.RPN.PROPOSAL_GRADIENT = True  # whose check asks for the steps as well
    with registered(lambda: ().index(1)):
        problems = refused(config)
    assert [problem for problem in problems if "SCHEDULE.NAME" in problem] == [
        "SCHEDULE.NAME 'impossible': tuple.index(x): x not in tuple"
    ]


def test_initial_weights_of_another_architecture(config, tmp_path):
    config.MODEL.WEIGHTS = str(tmp_path / "other.pth")
    torch.save({"model": {"backbone.conv1.weight": torch.zeros(3, 3, 11, 11)}}, config.MODEL.WEIGHTS)
    problems = refused(config)
    for step, problem in zip(("step1_rpn", "step2_fast_rcnn"), problems):
        assert problem.startswith(f"{step}: backbone.conv1.weight has shape (3, 3, 11, 11) in MODEL.WEIGHTS")
