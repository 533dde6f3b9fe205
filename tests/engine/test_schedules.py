"""The schedules besides the four steps, in miniature: what they train, from what, and what network comes out."""

import json
import os

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import read_checkpoint, select_components
from frcnn_alt.engine import FAST_RCNN, RPN, AlternatingTrainer, ConfigError, build_schedule

import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from miniature import run, tiny_config, weights_of, write_initial_weights


def config(shapes, folder, schedule, *, net="ZF", **keys):
    cfg = tiny_config(shapes, folder / "run", net, str(folder / "initial.pth"))
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    cfg.SCHEDULE.NAME = schedule
    for key, value in keys.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def component(state, name):
    return {key[len(name) + 1 :]: value for key, value in select_components(state, [name]).items()}


def same(one, other):
    assert one and set(one) == set(other)
    return all(torch.equal(one[name], other[name]) for name in one)


def predictor_of(cfg):
    final = get_cfg()
    final.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    return final, DefaultPredictor(final)


def test_names_of_all_schedules():
    cfg = get_cfg()
    steps = {}
    for name in ("four_step", "unshared", "rpn", "fast_rcnn", "joint"):
        cfg.SCHEDULE.NAME = name
        steps[name] = [step.name for step in build_schedule(cfg).steps]
    assert steps["unshared"] == steps["four_step"][:2] == ["step1_rpn", "step2_fast_rcnn"]
    assert (steps["rpn"], steps["fast_rcnn"], steps["joint"]) == (["step1_rpn"], ["step1_fast_rcnn"], ["step1_joint"])


@pytest.mark.parametrize("net", ["ZF", "VGG16"])
def test_unshared_is_one_network_of_two(net, shapes, tmp_path):
    cfg = config(shapes, tmp_path, "unshared", net=net, MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.05)
    results = run(cfg)
    assert "AP50" in results["bbox"] and list(results["proposals"]) == ["step1_rpn"]
    final = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    one, two = weights_of(cfg.OUTPUT_DIR, "step1_rpn"), weights_of(cfg.OUTPUT_DIR, "step2_fast_rcnn")
    assert same(component(final, "proposal_generator"), one)
    assert same(component(final, "backbone"), component(two, "backbone"))
    assert same(component(final, "roi_heads"), component(two, "roi_heads"))
    assert not same(component(final, "backbone"), component(one, "backbone"))


def test_unshared_detections_are_those_of_two_networks_one_after_the_other(shapes, tmp_path):
    """By hand: the RPN of step 1 gives 300 proposals, the detector of step 2 takes them (SPEC 6.4)."""
    cfg = config(shapes, tmp_path, "unshared", MODEL__RPN__POST_NMS_TOPK_TEST=20)
    run(cfg)
    final_cfg, predictor = predictor_of(cfg)
    assert final_cfg.MODEL.PROPOSAL_GENERATOR.NAME == "UnsharedProposalGenerator"
    image = read_image(os.path.join(shapes, "JPEGImages", "test_00000.jpg"), "BGR")
    found = predictor(image)["instances"]

    shared = tiny_config(shapes, tmp_path / "by_hand")
    shared.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    networks = {}
    for step in ("step1_rpn", "step2_fast_rcnn"):
        networks[step] = DefaultPredictor(shared).model
        networks[step].load_state_dict(weights_of(cfg.OUTPUT_DIR, step), strict=False)
    first, second = networks["step1_rpn"], networks["step2_fast_rcnn"]
    pixels = torch.as_tensor(image.astype("float32").transpose(2, 0, 1))
    inputs = [{"image": pixels, "height": image.shape[0], "width": image.shape[1]}]
    with torch.no_grad():
        images = first.preprocess_image(inputs)
        proposals, _ = first.proposal_generator(images, first.backbone(images.tensor), None)
        (expected,), _ = second.roi_heads(images, second.backbone(images.tensor), proposals, None)
    assert len(proposals[0]) == 20 and len(found) == len(expected) > 0
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(found.scores, expected.scores)


def test_more_rounds_repeat_steps_3_and_4_on_the_convolutions_of_step_2(shapes, tmp_path):
    cfg = config(shapes, tmp_path, "four_step", SCHEDULE__ROUNDS=2)
    run(cfg)
    state = {name: weights_of(cfg.OUTPUT_DIR, name) for name in os.listdir(cfg.OUTPUT_DIR) if name.startswith("step")}
    assert sorted(state) == [
        *("step1_rpn", "step2_fast_rcnn", "step3_rpn", "step4_fast_rcnn", "step5_rpn", "step6_fast_rcnn")
    ]
    backbone = component(state["step2_fast_rcnn"], "backbone")
    for name in ("step3_rpn", "step4_fast_rcnn", "step5_rpn", "step6_fast_rcnn"):
        assert same(component(state[name], "backbone"), backbone)
    final = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    assert same(component(final, "proposal_generator"), component(state["step5_rpn"], "proposal_generator"))
    assert same(component(final, "roi_heads"), component(state["step6_fast_rcnn"], "roi_heads"))
    assert not same(component(final, "roi_heads"), component(state["step4_fast_rcnn"], "roi_heads"))


@pytest.mark.parametrize("switch", ["new", "step1_rpn"])
def test_both_heads_of_a_further_round_go_on_from_the_round_before(switch):
    cfg = get_cfg()
    cfg.SCHEDULE.ROUNDS, cfg.SCHEDULE.STEP3_RPN_HEAD, cfg.SCHEDULE.STEP4_BOX_PREDICTOR = 3, switch, "new"
    schedule = build_schedule(cfg)
    assert len(schedule.steps) == 8
    assert schedule["step3_rpn"].init["proposal_generator"] == switch
    assert schedule["step4_fast_rcnn"].init["roi_heads.box_predictor"] == "new"
    for number in (5, 7):
        rpn, detector = schedule[f"step{number}_rpn"], schedule[f"step{number + 1}_fast_rcnn"]
        assert rpn.init == {"backbone": "step2_fast_rcnn", "proposal_generator": f"step{number - 2}_rpn"}
        assert detector.init == {"backbone": "step2_fast_rcnn", "roi_heads": f"step{number - 1}_fast_rcnn"}
        assert rpn.frozen == detector.frozen == ("backbone",) and detector.proposals_from == rpn.name
        assert (rpn.solver, detector.solver) == ("STEP3", "STEP4")


def test_a_rpn_alone_is_measured_by_recall_and_proposes(shapes, tmp_path):
    cfg = config(shapes, tmp_path, "rpn")
    results = run(cfg)
    assert 0 <= results["box_proposals"]["recall50@300"] <= 100 and "bbox" not in results
    final, predictor = predictor_of(cfg)
    assert final.MODEL.META_ARCHITECTURE == "FasterRCNNProposalNetwork"
    assert len(predictor(read_image(os.path.join(shapes, "JPEGImages", "test_00000.jpg"), "BGR"))["proposals"]) > 0


def test_fast_rcnn_alone_trains_on_given_proposal_sets_as_step_2_does(zf_run, shapes, tmp_path):
    """The same weights, proposals and seed as a step 2: the same network, to the last bit."""
    four, _ = zf_run
    sets = {
        name: os.path.join(four.OUTPUT_DIR, "step1_rpn", "proposals", name)
        for name in (*four.DATASETS.TRAIN, *four.DATASETS.TEST)
    }
    cfg = config(shapes, tmp_path, "fast_rcnn")
    (problem,) = [p for p in AlternatingTrainer(cfg).plan().problems if "PROPOSAL_FILES_TRAIN" in p]
    assert "names 0 proposal sets for 1 data sets" in problem
    cfg.DATASETS.PROPOSAL_FILES_TRAIN = tuple(sets[name] for name in cfg.DATASETS.TRAIN)
    cfg.DATASETS.PROPOSAL_FILES_TEST = tuple(sets[name] for name in cfg.DATASETS.TEST)
    plan = str(AlternatingTrainer(cfg).plan())
    assert "in: files" in plan and "TO MEND" not in plan
    assert "AP50" in run(cfg)["bbox"]
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        (entry,) = json.load(file)["steps"]
    assert entry["kind"] == FAST_RCNN and entry["proposals_in"] == "files" and entry["state"] == "finished"
    ours = weights_of(cfg.OUTPUT_DIR, "step1_fast_rcnn")
    theirs = weights_of(four.OUTPUT_DIR, "step2_fast_rcnn")
    key = "roi_heads.box_predictor.box2box_transform.std"  # of all regions of the same proposals, mirrored
    assert torch.equal(ours[key], theirs[key]) and (ours[key] != 1).any()


def test_other_proposal_sets_make_a_finished_fast_rcnn_stale(zf_run, shapes, tmp_path):
    four, _ = zf_run
    cfg = config(shapes, tmp_path, "fast_rcnn")
    cfg.DATASETS.TEST = ()
    for step in ("step1_rpn", "step3_rpn"):
        (name,) = cfg.DATASETS.TRAIN
        cfg.DATASETS.PROPOSAL_FILES_TRAIN = (os.path.join(four.OUTPUT_DIR, step, "proposals", name),)
        if step == "step1_rpn":
            run(cfg)
    with pytest.raises(ConfigError, match="the data that it started from"):
        run(cfg, resume=True)


def test_a_step_with_nothing_to_train_is_refused(shapes, tmp_path):
    cfg = config(shapes, tmp_path, "four_step", MODEL__FREEZE_PATTERNS=["proposal_generator"])
    problems = AlternatingTrainer(cfg).plan().problems
    assert len(problems) == 1 and problems[0].startswith("step3_rpn has nothing to train") and "FREEZE" in problems[0]


def test_kinds_of_the_steps_decide_what_is_measured(shapes, tmp_path):
    """A joint step measures the RPN's targets, not the detector's, which have no proposals yet."""
    cfg = config(shapes, tmp_path, "joint", MODEL__ROI_BOX_HEAD__BBOX_REG_STATISTICS="fixed")
    run(cfg)
    state = weights_of(cfg.OUTPUT_DIR, "step1_joint")
    assert (state["proposal_generator.box2box_transform.std"] != 1).all()
    assert [step.kind for step in build_schedule(cfg).steps] != [RPN]
    assert same(state, read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"])
