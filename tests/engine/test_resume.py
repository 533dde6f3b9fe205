"""Runs that are cut anywhere end with the weights of one that nobody disturbed; old and new runs are never mixed."""

import os

from frcnn_alt.engine import ConfigError, StepTrainer

import pytest
from miniature import STEPS, final_hash, run, tiny_config


def _interrupt_at(monkeypatch, step, iteration):
    """Make training stop as by Ctrl-C in the middle of one step."""
    stock = StepTrainer.run_step

    def run_step(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith(step) and trainer.iter == iteration:
            raise KeyboardInterrupt
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "run_step", run_step)


@pytest.fixture(scope="module")
def undisturbed(shapes, tmp_path_factory):
    cfg = tiny_config(shapes, tmp_path_factory.mktemp("undisturbed") / "run")
    run(cfg)
    return cfg


@pytest.mark.parametrize("step", STEPS)
def test_a_run_cut_in_any_step_ends_with_the_same_weights(step, shapes, undisturbed, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run")
    _interrupt_at(monkeypatch, step, 3)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


def test_a_run_cut_while_proposals_are_computed(shapes, undisturbed, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run")

    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("frcnn_alt.engine.run_step.compute_proposals", cut)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


def test_a_new_run_over_an_old_one_takes_up_nothing_of_it(shapes, undisturbed, tmp_path, monkeypatch):
    """--overwrite, cut before the first checkpoint, --resume: the old run's checkpoint lies there and is not used."""
    cfg = tiny_config(shapes, tmp_path / "run")
    cfg.SEED = 4
    run(cfg)
    os.remove(os.path.join(cfg.OUTPUT_DIR, "manifest.json"))  # what --overwrite does
    cfg.SEED = undisturbed.SEED
    _interrupt_at(monkeypatch, "step1_rpn", 1)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


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
