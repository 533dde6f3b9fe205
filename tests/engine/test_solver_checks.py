"""A single training's SOLVER is checked like the steps of a schedule; what is evaluated alone needs neither."""

import os

from frcnn_alt import get_cfg
from frcnn_alt.engine import SingleStepTrainer, check_config
from frcnn_alt.engine.world_size import planned_for

import pytest
from miniature import CONFIGS, tiny_config, write_initial_weights


def config(trainer):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(CONFIGS, "Base-RCNN-ZF.yaml"))
    cfg.DATASETS.TRAIN, cfg.TRAINER = ("some",), trainer
    return cfg


WRONG = [
    ("MAX_ITER", 0, "at least 1 iteration"),
    ("MAX_ITER", -3, "at least 1 iteration"),
    ("STEPS", (3, 2), "rising order"),
    ("STEPS", (2, 2), "rising order"),
    ("STEPS", (0, 2), "above 0"),
    ("BASE_LR", 0.0, "above 0"),
    ("BASE_LR", -0.1, "above 0"),
    ("IMS_PER_BATCH", 0, "multiple of the number of processes, 1"),
    ("IMS_PER_BATCH", -2, "multiple of the number of processes, 1"),
]


@pytest.mark.parametrize(
    "trainer, node, other",
    [("SingleStepTrainer", "SOLVER", "SCHEDULE.STEP3"), ("AlternatingTrainer", "SCHEDULE.STEP3", "SOLVER")],
)
@pytest.mark.parametrize("key, value, message", WRONG)
def test_each_trainer_has_its_own_keys_checked(trainer, node, other, key, value, message):
    cfg = config(trainer)
    assert check_config(cfg) == []
    cfg.merge_from_list([f"{other}.{key}", value])
    assert check_config(cfg) == []
    cfg.merge_from_list([f"{node}.{key}", value])
    (problem,) = check_config(cfg)
    assert problem.startswith(f"{node}.{key} is {value}") and message in problem
    assert check_config(cfg, trains=False) == []


@pytest.mark.parametrize("trainer, key", [("SingleStepTrainer", "SOLVER"), ("AlternatingTrainer", "SCHEDULE.STEP1")])
def test_a_batch_that_the_processes_cannot_share(trainer, key):
    cfg = config(trainer)
    cfg.SCHEDULE.STEP1.IMS_PER_BATCH = cfg.SCHEDULE.STEP3.IMS_PER_BATCH = cfg.SOLVER.IMS_PER_BATCH = 2
    with planned_for(2):
        assert check_config(cfg) == []
        cfg.merge_from_list([f"{key}.IMS_PER_BATCH", 3])
        (problem,) = check_config(cfg)
    assert f"{key}.IMS_PER_BATCH is 3: it must be a multiple of the number of processes, 2" in problem


@pytest.mark.parametrize("trainer, node", [("SingleStepTrainer", "SOLVER"), ("AlternatingTrainer", "SCHEDULE.STEP1")])
@pytest.mark.parametrize(
    "reference, values, message",
    [
        (2, {"IMS_PER_BATCH": 3}, "must be a multiple of SOLVER.REFERENCE_WORLD_SIZE, 2"),
        (1, {"IMS_PER_BATCH": 1, "MAX_ITER": 3, "STEPS": (2,)}, "no iteration is left when scaled from 1 to 8"),
        (1, {"IMS_PER_BATCH": 1, "STEPS": (1000, 1001)}, "which becomes (125, 125) when scaled from 1 to 8"),
        (1, {"IMS_PER_BATCH": 1, "STEPS": (2, 1000)}, "which becomes (0, 125) when scaled from 1 to 8"),
        (-1, {}, "SOLVER.REFERENCE_WORLD_SIZE is -1"),
    ],
)
def test_what_cannot_be_scaled_to_the_processes(trainer, node, reference, values, message):
    cfg = config(trainer)
    for other in ("SOLVER", "SCHEDULE.STEP1", "SCHEDULE.STEP2", "SCHEDULE.STEP3", "SCHEDULE.STEP4"):
        cfg.merge_from_list([f"{other}.IMS_PER_BATCH", 2])
    cfg.SOLVER.REFERENCE_WORLD_SIZE = reference
    for key, value in values.items():
        cfg.merge_from_list([f"{node}.{key}", value])
    with planned_for(8):
        (problem,) = check_config(cfg)
    assert message in problem and (not values or problem.startswith(f"{node}."))


def test_a_single_trainings_plan_says_it(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS = "fixed"
    cfg.TRAINER, cfg.SOLVER.MAX_ITER = "SingleStepTrainer", 0
    assert [problem.split(" is ")[0] for problem in SingleStepTrainer(cfg).plan().problems] == ["SOLVER.MAX_ITER"]


def test_steps_and_an_earlier_run_are_of_a_schedule():
    cfg = config("SingleStepTrainer")
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.GIVEN_RUN, cfg.SCHEDULE.STEP2.GIVEN = "3-4", "output/earlier", "two.pth"
    assert [problem.split(" is of a run in steps")[0] for problem in check_config(cfg)] == [
        "SCHEDULE.RUN_ONLY (--steps)",
        "SCHEDULE.GIVEN_RUN (--from-run)",
        "SCHEDULE.STEP2.GIVEN",
    ]
    cfg.TRAINER = "AlternatingTrainer"
    assert check_config(cfg) == []


@pytest.mark.parametrize("trainer, number", [("AlternatingTrainer", 2), ("SingleStepTrainer", 1)])
def test_what_matters_to_training_only_does_not_keep_from_evaluating(trainer, number):
    """A schedule of a package that is not at hand; mixed precision, on a machine without a GPU."""
    cfg = config(trainer)
    cfg.SCHEDULE.NAME, cfg.SOLVER.AMP.ENABLED, cfg.MODEL.DEVICE = "somebodys", True, "cpu"
    assert len(check_config(cfg)) == number and check_config(cfg, trains=False) == []


def test_a_single_training_does_not_start_from_the_file_that_it_writes(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path, weights=str(tmp_path / "model_final.pth"))
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS, cfg.TRAINER = "fixed", "SingleStepTrainer"
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    (problem,) = SingleStepTrainer(cfg).plan().problems
    assert problem.startswith(f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} is where this run writes itself")
    assert SingleStepTrainer(cfg, resume=True).plan().problems == []  # which goes on from a checkpoint


def test_what_is_evaluated_needs_no_training_data_and_may_be_one_step():
    cfg = config("AlternatingTrainer")
    cfg.DATASETS.TRAIN, cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.LOAD_PROPOSALS = (), "PrecomputedProposals", True
    assert len(check_config(cfg)) == 2
    assert check_config(cfg, trains=False) == []
