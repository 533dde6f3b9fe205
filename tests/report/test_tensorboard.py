"""One axis for the four steps, read back with TensorBoard's own reader."""

from frcnn_alt.report import read_run, write_tensorboard

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_steps_follow_each_other(finished_run):
    events = read_events(write_tensorboard(str(finished_run)))
    run = read_run(str(finished_run))
    expected = []
    for step, offset in zip(run.steps, (0, 400, 400 + 300, 400 + 300 + 200)):
        expected += [(offset + i, v) for i, v in zip(*step.scalars["total_loss"])]
    assert [iteration for iteration, _ in events["total_loss"]] == [iteration for iteration, _ in expected]
    assert [v for _, v in events["total_loss"]] == pytest.approx([v for _, v in expected])
    assert events["loss_cls"][0][0] == 419  # step 2 has it first
    assert events["loss_rpn_cls"][20][0] == 719  # then step 3 goes on with what step 1 began


def test_written_again_it_is_replaced(unfinished_run, make_run):
    first = read_events(write_tensorboard(str(unfinished_run)))
    assert first["total_loss"][-1][0] == 400 + 300 + 99
    assert read_events(write_tensorboard(str(unfinished_run))) == first
    make_run(unfinished_run)  # it has finished meanwhile
    folder = write_tensorboard(str(unfinished_run))
    assert read_events(folder)["total_loss"][-1][0] == 400 + 300 + 200 + 139
    assert len(list((unfinished_run / "tensorboard").iterdir())) == 1
    assert not list(unfinished_run.glob("tensorboard.*"))
