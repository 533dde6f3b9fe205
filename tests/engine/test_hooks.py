"""Progress of the whole run, and each step's own log."""

import logging
import types

from frcnn_alt.checkpointing import SafeCheckpointer
from frcnn_alt.engine.hooks import NewestCheckpointer, ScheduleProgress, step_log

import pytest
import torch


def _progress(monkeypatch, clock, current, rates, proposal_images=0, **arguments):
    monkeypatch.setattr("frcnn_alt.engine.hooks.time.perf_counter", lambda: clock[0])
    steps = [
        {"name": "step1_rpn", "kind": "rpn", "max_iter": 100, "ims_per_batch": 1, "proposal_images": proposal_images},
        {"name": "step2_fast_rcnn", "kind": "fast_rcnn", "max_iter": 50, "ims_per_batch": 2},
        {"name": "step3_rpn", "kind": "rpn", "max_iter": 10, "ims_per_batch": 1, "proposal_images": proposal_images},
    ]
    hook = ScheduleProgress(steps, current, rates, period=20.0, **arguments)
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
    assert "this step ends in 0:02:00, the run in 0:02:02" in message


def test_a_kind_not_yet_measured_is_judged_by_this_step(monkeypatch, caplog):
    clock = [0.0]
    hook = _progress(monkeypatch, clock, 0, {})
    hook.before_train()
    with caplog.at_level(logging.INFO, "frcnn_alt"):
        hook.trainer.iter, clock[0] = 49, 50.0
        hook.after_step()
    # 1 s an image: 50 left here, 100 images in step 2, 10 in step 3
    assert "this step ends in 0:00:50, the run in 0:02:40" in caplog.records[-1].getMessage()


def test_proposals_and_the_evaluation_count(monkeypatch, caplog):
    clock, rates = [0.0], {"fast_rcnn": 1.0}
    hook = _progress(monkeypatch, clock, 0, rates, proposal_images=30, evaluation_images=12)
    hook.before_train()
    with caplog.at_level(logging.INFO, "frcnn_alt"):
        hook.trainer.iter, clock[0] = 79, 160.0
        hook.after_step()
        rates["proposals"] = 0.5  # measured
        hook.trainer.iter, clock[0] = 89, 180.0
        hook.after_step()
    # 2 s an image here, also for proposals: 20 + 30 images, then 100 of step 2, 10 + 30 of step 3 and 12 of the test
    assert "this step ends in 0:01:40, the run in 0:05:04" in caplog.records[0].getMessage()
    # 10 images and 30 proposals of half a second; 100 s; 10 images, 30 proposals; 12 images
    assert "this step ends in 0:00:35, the run in 0:02:56" in caplog.records[1].getMessage()


@pytest.mark.parametrize("states, left_out", [(("given", "finished"), []), (("pending", "given"), ["step2_fast_rcnn"])])
def test_what_is_finished_given_or_left_out_takes_no_more_time(states, left_out, monkeypatch, caplog):
    clock = [0.0]
    hook = _progress(monkeypatch, clock, 0, {}, left_out=left_out)
    hook.steps[1]["state"], hook.steps[2]["state"] = states
    hook.before_train()
    with caplog.at_level(logging.INFO, "frcnn_alt"):
        hook.trainer.iter, clock[0] = 49, 50.0
        hook.after_step()
    assert "this step ends in 0:00:50, the run in 0:00:50" in caplog.records[0].getMessage()


def test_step_log_goes_to_the_steps_folder_and_ends_with_it(tmp_path):
    log = logging.getLogger("frcnn_alt.anything")
    log.setLevel(logging.INFO)
    with step_log(str(tmp_path / "step")):
        log.warning("inside")
    log.warning("outside")
    text = (tmp_path / "step" / "log.txt").read_text()
    assert "inside" in text and "outside" not in text


def test_a_training_that_begins_anew_keeps_the_checkpoint_that_has_an_earlier_ones_name(tmp_path):
    """A damaged checkpoint is not resumed, and the first one after it may be called alike."""
    checkpointer = SafeCheckpointer(torch.nn.Linear(2, 2), str(tmp_path))
    for _ in range(2):
        hook = NewestCheckpointer(checkpointer, 2)
        hook.trainer = types.SimpleNamespace(iter=0, max_iter=8)
        hook.before_train()
        for iteration in (0, 1, 2):
            hook.step(iteration)
        assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
        assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000001.pth"]
