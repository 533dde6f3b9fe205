"""Runs that are cut anywhere end with the weights of one that nobody disturbed; old and new runs are never mixed."""

import json
import os

from frcnn_alt.checkpointing import SafeCheckpointer
from frcnn_alt.engine import ConfigError, StepTrainer
from frcnn_alt.engine.manifest import FINISHED, Manifest

import pytest
from miniature import STEPS, final_hash, interrupt_at, run, run_until, tiny_config


def _config(shapes, output_dir):
    """The miniature with steps of 8 iterations, of which every second is saved."""
    cfg = tiny_config(shapes, output_dir, exact=True)
    for number in range(1, 5):
        cfg.SCHEDULE[f"STEP{number}"].MAX_ITER = 8
    return cfg


def _checkpoints(cfg, step):
    """Names of the checkpoints in the step's folder, without the final one."""
    names = os.listdir(os.path.join(cfg.OUTPUT_DIR, step))
    return sorted(name for name in names if name.endswith(".pth") and name != "model_final.pth")


def _assert_resumed_as_undisturbed(cfg, undisturbed, monkeypatch):
    """The run that `monkeypatch` cuts ends, resumed without it, with the undisturbed one's weights."""
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


@pytest.fixture(scope="module")
def undisturbed(shapes, tmp_path_factory):
    cfg = _config(shapes, tmp_path_factory.mktemp("undisturbed") / "run")
    run(cfg)
    return cfg


@pytest.mark.parametrize("step", STEPS)
def test_a_run_cut_in_any_step_ends_with_the_same_weights(step, shapes, undisturbed, tmp_path, monkeypatch):
    cfg = _config(shapes, tmp_path / "run")
    interrupt_at(monkeypatch, step, 3)
    _assert_resumed_as_undisturbed(cfg, undisturbed, monkeypatch)


def test_a_run_killed_when_a_step_has_just_finished_goes_on(shapes, undisturbed, tmp_path, monkeypatch):
    """Nothing that comes after the note in the manifest may be needed later."""
    cfg, stock = _config(shapes, tmp_path / "run"), Manifest.update_step

    def update_step(manifest, name, **values):
        if manifest.step(STEPS[1])["state"] != FINISHED:  # else the process is dead
            stock(manifest, name, **values)
        elif values.get("state"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "update_step", update_step)
    _assert_resumed_as_undisturbed(cfg, undisturbed, monkeypatch)
    with open(os.path.join(cfg.OUTPUT_DIR, "results.json")) as file:
        assert set(json.load(file)["seconds"]) == {*STEPS, "evaluation", "total"}


def test_a_step_keeps_its_newest_checkpoint_and_a_finished_one_none(shapes, undisturbed, tmp_path):
    """Those from before a resume go too. Iterations count from 0."""
    cfg = _config(shapes, tmp_path / "run")
    for cut, resume, kept in [(5, False, "model_0000003.pth"), (6, True, "model_0000005.pth")]:
        run_until(cfg, "step2_fast_rcnn", cut, resume=resume)
        assert _checkpoints(cfg, "step1_rpn") == []
        assert _checkpoints(cfg, "step2_fast_rcnn") == [kept]
    run(cfg, resume=True)
    assert [_checkpoints(cfg, step) for step in STEPS] == [[]] * 4
    assert final_hash(cfg) == final_hash(undisturbed)


def test_a_short_step_is_saved_although_the_period_is_longer(shapes, undisturbed, tmp_path, monkeypatch):
    """The shipped demos have steps of some hundred iterations and detectron2's period of 5000."""
    cfg = _config(shapes, tmp_path / "run")
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    run_until(cfg, "step1_rpn", 3)
    assert _checkpoints(cfg, "step1_rpn") == ["model_0000001.pth"]
    interrupt_at(monkeypatch, "step1_rpn", 1)  # must not come again
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


def test_a_run_cut_while_proposals_are_computed(shapes, undisturbed, tmp_path, monkeypatch):
    cfg = _config(shapes, tmp_path / "run")

    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("frcnn_alt.engine.step_proposals.compute_proposals", cut)
    _assert_resumed_as_undisturbed(cfg, undisturbed, monkeypatch)


def test_a_new_run_over_an_old_one_takes_up_nothing_of_it(shapes, undisturbed, tmp_path, monkeypatch):
    """--overwrite, cut before the first checkpoint, --resume: the old run's checkpoint lies there and is not used."""
    cfg = _config(shapes, tmp_path / "run")
    cfg.SEED = 4
    run(cfg)
    os.remove(os.path.join(cfg.OUTPUT_DIR, "manifest.json"))  # what --overwrite does
    cfg.SEED = undisturbed.SEED
    interrupt_at(monkeypatch, "step1_rpn", 1)
    _assert_resumed_as_undisturbed(cfg, undisturbed, monkeypatch)


def test_a_second_resume_does_nothing_twice(undisturbed, monkeypatch):
    def must_not_train(trainer):
        raise AssertionError("trained again")

    monkeypatch.setattr(StepTrainer, "train", must_not_train)
    assert "bbox" in run(undisturbed, resume=True)


def test_resume_with_another_config_names_the_key(undisturbed):
    changed = undisturbed.clone()
    changed.defrost()
    changed.SOLVER.MOMENTUM = 0.5
    with pytest.raises(ConfigError, match="SOLVER.MOMENTUM"):
        run(changed, resume=True)


def test_resume_with_another_start_of_step_4_is_refused(undisturbed):
    """The same files go in, but not for the same use."""
    changed = undisturbed.clone()
    changed.defrost()
    changed.SCHEDULE.STEP4_BOX_PREDICTOR = "new"
    with pytest.raises(ConfigError, match="step4_fast_rcnn"):
        run(changed, resume=True)


def test_resume_with_changed_annotations_is_refused(undisturbed, monkeypatch):
    monkeypatch.setattr("frcnn_alt.engine.trainer.hash_dicts", lambda dicts: "other boxes")
    with pytest.raises(ConfigError, match="the data that it started from"):
        run(undisturbed, resume=True)


def test_a_run_cut_between_the_last_two_checkpoints(shapes, undisturbed, tmp_path, monkeypatch):
    """MAX_ITER is a multiple of CHECKPOINT_PERIOD, so the last iteration is saved twice; the second time is cut."""
    cfg = _config(shapes, tmp_path / "run")
    stock = SafeCheckpointer.save

    def save(checkpointer, name, **kwargs):
        if name == "model_final":
            raise KeyboardInterrupt
        stock(checkpointer, name, **kwargs)

    monkeypatch.setattr(SafeCheckpointer, "save", save)
    _assert_resumed_as_undisturbed(cfg, undisturbed, monkeypatch)


def test_seconds_of_a_cut_step_count(shapes, tmp_path, monkeypatch):
    cfg = _config(shapes, tmp_path / "run")
    interrupt_at(monkeypatch, "step1_rpn", 3)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        assert json.load(file)["steps"][0]["seconds"] > 0
