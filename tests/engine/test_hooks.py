"""Progress of the whole run, and each step's own log."""

import logging
import types

from frcnn_alt.engine.hooks import ScheduleProgress, step_log

import pytest


def _progress(monkeypatch, clock, current, rates):
    monkeypatch.setattr("frcnn_alt.engine.hooks.time.perf_counter", lambda: clock[0])
    steps = [
        {"name": "step1_rpn", "kind": "rpn", "max_iter": 100, "ims_per_batch": 1},
        {"name": "step2_fast_rcnn", "kind": "fast_rcnn", "max_iter": 50, "ims_per_batch": 2},
        {"name": "step3_rpn", "kind": "rpn", "max_iter": 10, "ims_per_batch": 1},
    ]
    hook = ScheduleProgress(steps, current, rates, period=20.0)
    hook.trainer = types.SimpleNamespace(iter=0, start_iter=0)
    return hook


def test_remaining_time_is_that_of_this_and_the_later_steps(monkeypatch, caplog):
    clock, rates = [0.0], {"rpn": 0.25}
    hook = _progress(monkeypatch, clock, 1, rates)
    hook.before_train()
    with caplog.at_level(logging.INFO, "frcnn_alt"):
        hook.trainer.iter, clock[0] = 0, 10.0
        hook.after_step()
        assert not caplog.records  # not before the period
        hook.trainer.iter, clock[0] = 9, 30.0
        hook.after_step()
    # 10 iterations in 30 s: 3 s each, 40 are left; then step 3's 10 images at 0.25 s.
    assert rates["fast_rcnn"] == pytest.approx(1.5)
    message = caplog.records[-1].getMessage()
    assert "step 2 of 3 (step2_fast_rcnn), iteration 10 of 50" in message
    assert "this step ends in 0:02:00, training in 0:02:02" in message


def test_a_kind_not_yet_measured_is_judged_by_this_step(monkeypatch, caplog):
    clock = [0.0]
    hook = _progress(monkeypatch, clock, 0, {})
    hook.before_train()
    with caplog.at_level(logging.INFO, "frcnn_alt"):
        hook.trainer.iter, clock[0] = 49, 50.0
        hook.after_step()
    # 1 s an image: 50 left here, 100 images in step 2, 10 in step 3
    assert "this step ends in 0:00:50, training in 0:02:40" in caplog.records[-1].getMessage()


def test_step_log_goes_to_the_steps_folder_and_ends_with_it(tmp_path):
    log = logging.getLogger("frcnn_alt.anything")
    log.setLevel(logging.INFO)
    with step_log(str(tmp_path / "step")):
        log.warning("inside")
    log.warning("outside")
    text = (tmp_path / "step" / "log.txt").read_text()
    assert "inside" in text and "outside" not in text
