"""What a run was given stays given when it is gone on with, and what does not go together is never put together."""

import os
import shutil
from pathlib import Path
from unittest import mock

from frcnn_alt.engine import AlternatingTrainer, ConfigError
from frcnn_alt.engine.manifest import Manifest

import pytest
import torch
from miniature import another, final_hash, problems_of, run, states, weights_in, weights_of


def run_cut_at(function, cfg):
    """Run until the first call of a function, which is where somebody interrupts."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(function, mock.Mock(side_effect=KeyboardInterrupt))
        run(cfg)


def test_going_on_without_flags_trains_no_step_that_was_given(whole, tmp_path):
    cfg = another(whole, tmp_path, "3", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR)
    run(cfg)
    assert states(cfg) == ["pending", "given", "finished", "pending"]
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.GIVEN_RUN = "", ""
    run(cfg, resume=True)
    assert states(cfg) == ["pending", "given", "finished", "finished"] and final_hash(cfg) == final_hash(whole)


def test_going_on_without_the_original_of_a_file_that_was_given(whole, tmp_path):
    """Its own copy is in the run's folder."""
    file = tmp_path / "two.pth"
    shutil.copy(weights_in(whole.OUTPUT_DIR, "step2_fast_rcnn"), file)
    cfg = another(whole, tmp_path, "3", SCHEDULE__STEP2__GIVEN=str(file))
    run(cfg)
    file.unlink()
    cfg.SCHEDULE.RUN_ONLY = ""
    run(cfg, resume=True)
    assert states(cfg) == ["pending", "given", "finished", "finished"] and final_hash(cfg) == final_hash(whole)
    torch.save({"model": {}}, weights_in(cfg.OUTPUT_DIR, "step2_fast_rcnn"))
    assert problems_of(cfg) == [f"SCHEDULE.STEP2.GIVEN: {file} does not exist."]


def test_a_run_cut_while_it_makes_the_proposals_of_a_given_step_goes_on(whole, tmp_path):
    rpn = weights_in(whole.OUTPUT_DIR, "step1_rpn")
    cfg = another(whole, tmp_path, "2", SCHEDULE__STEP1__GIVEN=rpn, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    run_cut_at("frcnn_alt.engine.given_step.write_proposals", cfg)
    cfg.SCHEDULE.STEP1.GIVEN, cfg.SCHEDULE.RUN_ONLY = "", ""  # the manifest knows both
    run(cfg, resume=True)
    assert states(cfg) == ["given", "finished", "finished", "finished"] and final_hash(cfg) == final_hash(whole)


def test_a_step_of_another_run_is_not_put_together_with_one_trained_here(whole, tmp_path):
    """Step 3 of the other run started from its step 2, not from this one's."""
    cfg = another(whole, tmp_path, "2", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    cfg.SCHEDULE.STEP2.BASE_LR /= 2
    run(cfg)
    cfg.SCHEDULE.RUN_ONLY = "4"
    (problem,) = problems_of(cfg)
    assert "leaves out step3_rpn, which step4_fast_rcnn starts from" in problem
    assert f"have it trained too, for that of {whole.OUTPUT_DIR} started from another step2_fast_rcnn" in problem


def with_other_step_2(whole, folder):
    """A file that is a step 2 as good as that of `whole`, but another."""
    state = weights_of(whole.OUTPUT_DIR, "step2_fast_rcnn")
    state["backbone.conv5.bias"] += 1
    torch.save({"model": state}, folder / "other.pth")
    return str(folder / "other.pth")


def test_a_step_of_another_run_is_not_put_together_with_a_file_that_it_did_not_start_from(whole, tmp_path):
    other = with_other_step_2(whole, tmp_path)
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR, SCHEDULE__STEP2__GIVEN=other)
    (problem,) = problems_of(cfg, resume=False)
    assert f"have it trained too, for that of {whole.OUTPUT_DIR} started from another step2_fast_rcnn" in problem
    cfg.SCHEDULE.STEP2.GIVEN = weights_in(whole.OUTPUT_DIR, "step2_fast_rcnn")  # the one that it did start from
    assert problems_of(cfg, resume=False) == []


@pytest.mark.parametrize("first", ["run", "file"])
def test_the_same_weights_may_be_given_in_another_way_later(first, whole, tmp_path):
    file = weights_in(whole.OUTPUT_DIR, "step2_fast_rcnn")
    ways = {"run": {"SCHEDULE__GIVEN_RUN": whole.OUTPUT_DIR}, "file": {"SCHEDULE__STEP2__GIVEN": file}}
    second = "file" if first == "run" else "run"
    run(another(whole, tmp_path, "3", **ways[first]))
    cfg = another(whole, tmp_path, "4", **ways[second])
    run(cfg, resume=True)
    assert states(cfg) == ["pending", "given", "finished", "finished"] and final_hash(cfg) == final_hash(whole)
    assert run(another(whole, tmp_path, ""), resume=True)["bbox"]


def test_a_given_step_from_which_nothing_has_begun_can_be_trained(whole, tmp_path):
    three = weights_in(whole.OUTPUT_DIR, "step3_rpn")
    cfg = another(whole, tmp_path, "1-2", SCHEDULE__STEP3__GIVEN=three, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    run(cfg)
    assert states(cfg) == ["finished", "finished", "given", "pending"]
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.STEP3.GIVEN = "3-4", ""
    assert problems_of(cfg) == []
    run(cfg, resume=True)
    assert states(cfg) == ["finished"] * 4 and final_hash(cfg) == final_hash(whole)


def test_a_step_that_was_cut_and_is_given_then(whole, tmp_path):
    cfg = another(whole, tmp_path, "1", MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    run_cut_at("frcnn_alt.engine.run_step.write_proposals", cfg)
    assert states(cfg)[0] == "running"
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.GIVEN_RUN = "2", whole.OUTPUT_DIR
    assert "(given)" in str(AlternatingTrainer(cfg, resume=True).plan())
    run(cfg, resume=True)
    entry = Manifest.read(cfg.OUTPUT_DIR).step("step1_rpn")
    assert entry["state"] == "given" and "seconds" not in entry and "frozen_hash" not in entry
    assert list(entry["started_from"].values()) == [f"given: {weights_in(whole.OUTPUT_DIR, 'step1_rpn')}"]


def test_a_run_that_stands_in_for_no_step_is_told(whole, tmp_path):
    cfg = another(whole, tmp_path, "", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    (problem,) = problems_of(cfg, resume=False)
    assert problem.startswith(f"SCHEDULE.GIVEN_RUN (--from-run) {whole.OUTPUT_DIR} stands in for no step")


def test_a_run_that_was_given_gives_on(whole, tmp_path):
    """Its manifest tells where the proposals lie; they are not computed again. What an overwritten run left in its
    folder is not taken for what it was given.
    """
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR)
    run(cfg)
    stale = Path(cfg.OUTPUT_DIR) / "step2_fast_rcnn"
    stale.mkdir()
    torch.save({"model": {}}, stale / "model_final.pth")
    onward = another(whole, tmp_path / "onward", "4", SCHEDULE__GIVEN_RUN=cfg.OUTPUT_DIR)
    run(onward)
    assert final_hash(onward) == final_hash(whole)
    assert sorted(os.listdir(onward.OUTPUT_DIR)) == sorted({*os.listdir(cfg.OUTPUT_DIR)} - {"step2_fast_rcnn"})


def test_a_given_file_is_remembered_from_every_folder(whole, tmp_path, monkeypatch):
    """Also by a run that was cut before it had made a copy."""
    monkeypatch.chdir(os.path.join(whole.OUTPUT_DIR, "step2_fast_rcnn"))
    given = another(whole, tmp_path, "3", SCHEDULE__STEP2__GIVEN="model_final.pth")
    run_cut_at("frcnn_alt.engine.given_step.write_checkpoint", given)
    monkeypatch.chdir(tmp_path)
    assert problems_of(another(whole, tmp_path, "3-4")) == []


def test_a_given_run_is_remembered_from_every_folder(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(os.path.dirname(whole.OUTPUT_DIR))
    cfg = another(whole, tmp_path, "3", SCHEDULE__GIVEN_RUN=os.path.basename(whole.OUTPUT_DIR))
    run(cfg)
    monkeypatch.chdir(tmp_path)
    assert problems_of(another(whole, tmp_path, "4")) == []


def test_a_given_step_is_not_trained_once_others_started_from_it(whole, tmp_path):
    cfg = another(whole, tmp_path, "3", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    run(cfg)
    cfg.SCHEDULE.RUN_ONLY = "1-4"
    problems = problems_of(cfg)
    assert any(
        "step2_fast_rcnn is to be trained, but step3_rpn in this folder started from another" in p for p in problems
    )


def test_a_file_does_not_stand_in_for_a_step_that_is_trained_here(whole, tmp_path):
    cfg = another(whole, tmp_path, "1-2", MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    run(cfg)
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.STEP2.GIVEN = "3-4", weights_in(whole.OUTPUT_DIR, "step2_fast_rcnn")
    (problem,) = problems_of(cfg)
    assert (
        problem == "SCHEDULE.STEP2.GIVEN stands in for step2_fast_rcnn, which this run has trained: set the key to ''."
    )


def test_another_given_file_makes_what_started_from_it_stale(whole, tmp_path):
    cfg = another(whole, tmp_path, "3", SCHEDULE__STEP2__GIVEN=str(tmp_path / "two.pth"))
    shutil.copy(weights_in(whole.OUTPUT_DIR, "step2_fast_rcnn"), tmp_path / "two.pth")
    run(cfg)
    os.replace(with_other_step_2(whole, tmp_path), tmp_path / "two.pth")
    with pytest.raises(ConfigError, match="step3_rpn in this folder started from another file"):
        run(cfg, resume=True)


def test_a_run_that_gives_has_a_folder_of_its_own(whole):
    cfg = whole.clone()
    cfg.SCHEDULE.GIVEN_RUN = os.path.join(whole.OUTPUT_DIR, os.curdir)
    (problem,) = problems_of(cfg, resume=False)
    assert problem.startswith("SCHEDULE.GIVEN_RUN (--from-run) is OUTPUT_DIR")
