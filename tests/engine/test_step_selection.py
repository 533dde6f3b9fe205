"""--steps: some steps of a schedule, starting from an earlier run, from files of one's own, or from somebody else's."""

import os
import shutil

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import hash_tensors, read_checkpoint
from frcnn_alt.engine import AlternatingTrainer, ConfigError, build_schedule, default_argument_parser, setup_cfg
from frcnn_alt.engine.step_selection import select_steps

import pytest
import torch
from detectron2.modeling import build_model
from miniature import another, final_hash, moved_run, run, states, tiny_config, weights_of
from oracles.caffe_wire import net
from random_detector import caffe_weights


@pytest.mark.parametrize(
    "text, expected",
    [("", [1, 2, 3, 4]), ("2", [2]), ("3-4", [3, 4]), ("3-", [3, 4]), ("-2", [1, 2]), (" 1 - 3 ", [1, 2, 3])],
)
def test_ranges(text, expected):
    cfg = get_cfg()
    cfg.SCHEDULE.RUN_ONLY = text
    schedule = build_schedule(cfg)
    assert [
        1 + [s.name for s in schedule.steps].index(name) for name in select_steps(cfg, schedule).trained
    ] == expected


@pytest.mark.parametrize("text", ["0", "5", "4-3", "a", "-", "1,2", "1-2-3"])
def test_what_is_no_range_is_told(text):
    cfg = get_cfg()
    cfg.SCHEDULE.RUN_ONLY = text
    (problem,) = select_steps(cfg, build_schedule(cfg)).problems
    assert "--steps" in problem and repr(text) in problem


def test_the_flags_set_the_keys():
    words = ["--steps", "3-4", "--from-run", "output/earlier"]
    cfg = setup_cfg(default_argument_parser().parse_args(words))
    assert (cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.GIVEN_RUN) == ("3-4", "output/earlier")


def test_steps_3_and_4_from_an_earlier_run_are_those_of_the_whole_run(whole, tmp_path):
    cfg = another(whole, tmp_path, "3-4", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR)
    plan = AlternatingTrainer(cfg).plan()
    assert plan.problems == [] and plan.left_out == ["step1_rpn"]  # nothing starts from it
    assert [entry["state"] for entry in plan.steps] == ["pending", "given", "pending", "pending"]
    assert f"given: {whole.OUTPUT_DIR}" in plan.steps[1]["started_from"]["all"]
    assert "AP50" in run(cfg)["bbox"]
    assert final_hash(cfg) == final_hash(whole)
    assert states(cfg) == ["pending", "given", "finished", "finished"]
    assert not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "step2_fast_rcnn"))  # the files stay where they are


def test_step_4_from_an_earlier_run_takes_its_proposals_where_they_lie(whole, tmp_path):
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR)
    run(cfg)
    assert final_hash(cfg) == final_hash(whole) and not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "step3_rpn"))


def test_proposals_that_an_earlier_run_lost_are_computed_anew(whole, tmp_path):
    moved = moved_run(whole, tmp_path / "moved")
    shutil.rmtree(os.path.join(moved, "step3_rpn", "proposals"))
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=moved)
    run(cfg)
    assert final_hash(cfg) == final_hash(whole)
    assert sorted(os.listdir(os.path.join(cfg.OUTPUT_DIR, "step3_rpn", "proposals")))


def test_a_weight_file_stands_in_for_a_step(whole, tmp_path):
    """Step 2 alone, on the proposals of an RPN that is given as a file: they are computed first."""
    file = os.path.join(whole.OUTPUT_DIR, "step1_rpn", "model_final.pth")
    cfg = another(whole, tmp_path, "2", SCHEDULE__STEP1__GIVEN=file, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    assert run(cfg) == {}  # no network yet
    assert states(cfg) == ["given", "finished", "pending", "pending"]
    ours, theirs = (weights_of(c.OUTPUT_DIR, "step2_fast_rcnn") for c in (cfg, whole))
    assert hash_tensors(ours) == hash_tensors(theirs)
    cfg.SCHEDULE.RUN_ONLY = "3-4"  # and on with the rest
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(whole) and states(cfg) == ["given", "finished", "finished", "finished"]


def test_two_halves_are_a_whole(whole, tmp_path):
    cfg = another(whole, tmp_path, "1-2", MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    assert run(cfg) == {} and states(cfg) == ["finished", "finished", "pending", "pending"]
    assert not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))
    cfg.SCHEDULE.RUN_ONLY = ""
    assert "AP50" in run(cfg, resume=True)["bbox"] and final_hash(cfg) == final_hash(whole)


def test_somebody_elses_detector_stands_in_for_step_2(shapes, tmp_path):
    """A released py-faster-rcnn detector in Caffe's format: its convolutions are shared, its head goes on."""
    cfg = tiny_config(shapes, tmp_path / "run", "VGG16")
    cfg.SCHEDULE.RUN_ONLY = "3-4"
    cfg.SCHEDULE.STEP2.GIVEN = str(tmp_path / "released.caffemodel")
    detector = cfg.clone()
    detector.MODEL.DEVICE = "cpu"
    torch.manual_seed(7)
    layers = caffe_weights(build_model(detector), "rpn_conv/3x3")
    (tmp_path / "released.caffemodel").write_bytes(net({name: list(arrays) for name, arrays in layers.items()}))
    assert AlternatingTrainer(cfg).plan().problems == []
    assert "AP50" in run(cfg)["bbox"]
    final = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    for name in ("conv1_1", "conv5_3"):
        assert torch.equal(final[f"backbone.{name}.weight"], torch.from_numpy(layers[name][0]).float())


@pytest.mark.parametrize(
    "steps, keys, message",
    [
        (
            "3-4",
            {},
            r"leaves out step2_fast_rcnn, which step3_rpn and step4_fast_rcnn start from.*SCHEDULE.STEP2.GIVEN",
        ),
        ("2", {"MODEL__WEIGHTS": ""}, "leaves out step1_rpn, which step2_fast_rcnn start"),
        ("3-4", {"SCHEDULE__STEP2__GIVEN": "nowhere.pth"}, "SCHEDULE.STEP2.GIVEN: nowhere.pth does not exist"),
        ("3-4", {"SCHEDULE__GIVEN_RUN": "nowhere"}, "GIVEN_RUN.*nowhere is no run's folder"),
        ("3-4", {"SCHEDULE__STEP3__GIVEN": "a.pth"}, "SCHEDULE.STEP3.GIVEN stands in for step3_rpn"),
    ],
)
def test_what_cannot_start_is_told_beforehand(steps, keys, message, whole, tmp_path):
    cfg = another(whole, tmp_path, steps, **keys)
    with pytest.raises(ConfigError, match=message):
        run(cfg)
    assert os.listdir(cfg.OUTPUT_DIR) == []


def test_files_of_another_network_are_told_beforehand(whole, tmp_path):
    rpn = os.path.join(whole.OUTPUT_DIR, "step1_rpn", "model_final.pth")
    problems = AlternatingTrainer(another(whole, tmp_path, "3-4", SCHEDULE__STEP2__GIVEN=rpn)).plan().problems
    assert (
        len(problems) == 1
        and problems[0].startswith("step2_fast_rcnn is given: ")
        and "it lacks roi_heads" in problems[0]
    )


def test_a_file_that_its_run_did_not_write_is_told(whole, tmp_path):
    shutil.copytree(whole.OUTPUT_DIR, tmp_path / "earlier")
    changed = tmp_path / "earlier" / "step2_fast_rcnn" / "model_final.pth"
    torch.save({"model": {}}, changed)
    problems = AlternatingTrainer(another(whole, tmp_path, "3-4", SCHEDULE__GIVEN_RUN=str(tmp_path / "earlier"))).plan()
    assert "is not the file that step2_fast_rcnn of that run wrote" in problems.problems[0]
