"""The instrument that kills runs: what it writes down, and how it counts what was lost."""

import io
import os
import signal
import sys

import pytest
import torch
from scripts import REPOSITORY, load_script


@pytest.fixture(scope="module")
def kill_resume():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
        return load_script("benchmarks/kill_resume.py")


@pytest.fixture(scope="module")
def interrupted(kill_resume):
    return sys.modules["interrupted"]


def _iterations(step, *numbers):
    return [("training", f"{step} {number}") for number in numbers]


def test_what_is_done_again_counts_for_the_kill_before(kill_resume):
    attempts = [
        _iterations("step1", 0, 1, 2, 3, 4, 5),  # checkpoint after 3
        [*_iterations("step1", 4, 5, 6, 7), ("between steps", "step1")],
        [("proposals", "image 0")],
        [],
        [("proposals", "image 0"), *_iterations("step2", 0)],
    ]
    kills = kill_resume._kills(attempts)
    assert [(kill.phase, kill.done_again) for kill in kills] == [
        ("training", 2),
        ("between steps", 0),
        ("proposals", 0),
        ("starting", 0),
    ]


def _killed_child(interrupted, path, target, work):
    """The wait status of a forked process that keeps a diary while it works."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            work(interrupted.Diary(path / "diary", str(path / "run"), target).keep())
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _save(path):
    def work(diary):
        torch.save(torch.zeros(3), io.BytesIO())  # goes to no file
        with open(path / "run" / "step1" / "a.pth.partial", "wb") as file:
            torch.save({"x": torch.zeros(5000)}, file)
        os.replace(path / "run" / "step1" / "a.pth.partial", path / "run" / "step1" / "a.pth")
        os.replace(path / "run" / "step1" / "a.pth", path / "elsewhere")

    return work


def test_notes_and_their_points(interrupted, tmp_path):
    (tmp_path / "run" / "step1").mkdir(parents=True)
    assert _killed_child(interrupted, tmp_path, None, _save(tmp_path)) == 0
    notes = interrupted.read_diary(tmp_path / "diary")
    assert notes == [
        ("checkpoint", "step1/a.pth.partial is half written"),
        ("checkpoint", "step1/a.pth is about to get its name"),
        ("checkpoint", "step1/a.pth has its name"),
    ]
    whole = (tmp_path / "elsewhere").stat().st_size
    assert _killed_child(interrupted, tmp_path, notes[0], _save(tmp_path)) == -signal.SIGKILL
    assert 0 < (tmp_path / "run" / "step1" / "a.pth.partial").stat().st_size < whole
    assert _killed_child(interrupted, tmp_path, notes[1], _save(tmp_path)) == -signal.SIGKILL
    assert not (tmp_path / "run" / "step1" / "a.pth").exists()
    assert _killed_child(interrupted, tmp_path, notes[2], _save(tmp_path)) == -signal.SIGKILL
    assert (tmp_path / "run" / "step1" / "a.pth").stat().st_size == whole
    assert len(interrupted.read_diary(tmp_path / "diary")) == 3 + 1 + 2 + 3


def test_a_note_that_was_cut_is_left_out(interrupted, tmp_path):
    (tmp_path / "diary").write_text("training\tstep1 0\ntrain")
    assert interrupted.read_diary(tmp_path / "diary") == [("training", "step1 0")]
