"""Steps and schedules say what the paper says (SPEC 6.1)."""

from frcnn_alt.config import get_cfg
from frcnn_alt.engine import FAST_RCNN, RPN, SCHEDULE_REGISTRY, Schedule, Step, build_schedule, configure_step

import pytest


def test_four_steps_are_those_of_the_table():
    schedule = build_schedule(get_cfg())
    one, two, three, four = schedule.steps
    assert [step.kind for step in schedule.steps] == [RPN, FAST_RCNN, RPN, FAST_RCNN]
    # convs: ImageNet, ImageNet again, step 2, step 2
    assert [step.init["backbone"] for step in schedule.steps] == [
        "weights",
        "weights",
        "step2_fast_rcnn",
        "step2_fast_rcnn",
    ]
    assert one.frozen == two.frozen == () and three.frozen == four.frozen == ("backbone",)
    assert one.init["proposal_generator"] == three.init["proposal_generator"] == "new"
    assert two.init["roi_heads.box_predictor"] == "new" and four.init["roi_heads"] == "step2_fast_rcnn"
    assert "roi_heads.box_predictor" not in four.init  # MATLAB continues it
    assert (two.proposals_from, four.proposals_from) == ("step1_rpn", "step3_rpn")
    assert schedule.assembly == {
        "backbone": "step2_fast_rcnn",
        "proposal_generator": "step3_rpn",
        "roi_heads": "step4_fast_rcnn",
    }


def test_py_faster_rcnn_and_seed_000_switches():
    cfg = get_cfg()
    cfg.SCHEDULE.STEP4_BOX_PREDICTOR = "new"
    cfg.SCHEDULE.STEP3_RPN_HEAD = "step1_rpn"
    schedule = build_schedule(cfg)
    assert schedule["step4_fast_rcnn"].init["roi_heads.box_predictor"] == "new"
    assert schedule["step3_rpn"].init["proposal_generator"] == "step1_rpn"
    assert schedule["step3_rpn"].needs == ("step1_rpn", "step2_fast_rcnn")


def test_default_solver_values_are_those_of_voc07():
    cfg = get_cfg()
    values = [
        (n.IMS_PER_BATCH, n.MAX_ITER, n.STEPS, n.BASE_LR) for n in (cfg.SCHEDULE[f"STEP{i}"] for i in (1, 2, 3, 4))
    ]
    rpn, detector = (1, 80000, (60000,), 0.001), (2, 40000, (30000,), 0.001)
    assert values == [rpn, detector, rpn, detector]


def test_step_config_says_all_that_the_step_does():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "FasterRCNN"
    cfg.SCHEDULE.STEP3.MAX_ITER = 17
    cfg.SCHEDULE.STEP3.OPTS = ["SOLVER.WEIGHT_DECAY", 0.25]
    schedule = build_schedule(cfg)
    rpn = configure_step(cfg, schedule["step3_rpn"], "out")
    assert (rpn.SOLVER.MAX_ITER, rpn.SOLVER.WEIGHT_DECAY, rpn.OUTPUT_DIR) == (17, 0.25, "out")
    assert rpn.MODEL.META_ARCHITECTURE == "FasterRCNNProposalNetwork" and rpn.MODEL.FREEZE_COMPONENTS == ("backbone",)
    assert (rpn.MODEL.RPN.PRE_NMS_TOPK_TEST, rpn.MODEL.RPN.POST_NMS_TOPK_TEST) == (1000000, 2000)
    detector = configure_step(cfg, schedule["step4_fast_rcnn"], "out", ["a"], ["b"])
    assert detector.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals" and detector.MODEL.LOAD_PROPOSALS
    assert detector.DATASETS.PROPOSAL_FILES_TRAIN == ("a",) and detector.SOLVER.WEIGHT_DECAY == cfg.SOLVER.WEIGHT_DECAY
    assert cfg.SOLVER.MAX_ITER == get_cfg().SOLVER.MAX_ITER  # the run's own config is untouched


def test_what_the_config_freezes_is_frozen_besides_what_the_step_does_not_train():
    cfg = get_cfg()
    cfg.MODEL.FREEZE_COMPONENTS = ("backbone.conv1", "roi_heads.box_head.fc6")
    cfg.SCHEDULE.STEP4.OPTS = ["MODEL.FREEZE_COMPONENTS", ["roi_heads.box_predictor"]]
    frozen = [configure_step(cfg, step, "out").MODEL.FREEZE_COMPONENTS for step in build_schedule(cfg).steps]
    assert frozen == [
        ("backbone.conv1",),  # an RPN has no roi_heads
        ("backbone.conv1", "roi_heads.box_head.fc6"),
        ("backbone", "backbone.conv1"),
        ("backbone", "roi_heads.box_predictor"),  # a step's own value replaces the run's, but thaws nothing
    ]


def test_impossible_steps_and_schedules_are_refused():
    with pytest.raises(ValueError, match="kind"):
        Step("a", "segmentation", "STEP1", {}, ("backbone",))
    with pytest.raises(ValueError, match="roi_heads"):
        Step("a", RPN, "STEP1", {}, ("roi_heads",))
    with pytest.raises(ValueError, match="proposals_from"):
        Step("a", FAST_RCNN, "STEP1", {}, ("roi_heads",))
    late = Step("a", RPN, "STEP1", {"backbone": "b"}, ("backbone",))
    with pytest.raises(ValueError, match="a starts from b, which no step before it is called"):
        Schedule((late,), {})
    first = Step("a", RPN, "STEP1", {}, ("backbone",))
    with pytest.raises(ValueError, match="Two steps"):
        Schedule((first, first), {})
    with pytest.raises(ValueError, match="assembly names z"):
        Schedule((first,), {"backbone": "z"})


def test_other_projects_can_register_a_schedule():
    name = "only_an_rpn_for_this_test"
    step = Step("step1_rpn", RPN, "STEP1", {"backbone": "weights"}, ("backbone", "proposal_generator"))
    SCHEDULE_REGISTRY._do_register(name, lambda cfg: Schedule((step,), dict.fromkeys(step.components, step.name), RPN))
    cfg = get_cfg()
    cfg.SCHEDULE.NAME = name
    assert build_schedule(cfg).steps == (step,)
