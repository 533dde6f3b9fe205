"""Running a sweep's tasks: order, failures, going on, several at a time, one sweep in a folder."""

import signal
import subprocess
import sys
import time

from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.folder_lock import held_folder
from frcnn_alt.sweep.executors import LocalExecutor
from frcnn_alt.sweep.run import LOCK_FILE, run_sweep

import pytest
from scripted import ScriptedSweep

CHAIN = {"a": [], "b": ["a"], "c": ["b"], "d": []}


def test_every_task_runs_once_after_what_it_needs(tmp_path):
    states, said, begun = ScriptedSweep(tmp_path, CHAIN).run()
    assert states == dict.fromkeys(CHAIN, "done")
    assert begun.index("a") < begun.index("b") < begun.index("c") and sorted(begun) == sorted(CHAIN)
    assert "[4/4]" in said


def test_what_is_done_is_not_done_again(tmp_path):
    sweep = ScriptedSweep(tmp_path, CHAIN)
    sweep.run()
    states, said, begun = sweep.run()
    assert begun == [] and states == dict.fromkeys(CHAIN, "done") and "4 of 4 tasks are done already" in said


def test_a_failure_stops_only_what_rests_on_it_and_is_tried_again(tmp_path):
    sweep = ScriptedSweep(tmp_path, CHAIN, fails=["b"])
    states, said, begun = sweep.run()
    assert states == {"a": "done", "b": "failed", "c": "skipped", "d": "done"}
    assert "exit status 3" in said and "hello from b" in said and "c: skipped, it needs b" in said
    sweep.fails = []
    states, _, begun = sweep.run()
    assert begun == ["b", "c"] and states == dict.fromkeys(CHAIN, "done")


def test_a_task_of_another_command_is_done_anew_with_all_that_rest_on_it(tmp_path):
    sweep = ScriptedSweep(tmp_path, CHAIN)
    sweep.run()
    left_over = tmp_path / "made" / "b" / "of_the_earlier_command"
    left_over.write_text("")
    sweep.needs = {**CHAIN, "b": ["a", "d"]}  # not of the command: b stays as it is, but its mark knows no d
    assert sweep.run()[2] == ["b", "c"]
    assert not left_over.exists()


def test_a_task_whose_words_alone_have_changed_is_done_anew(tmp_path):
    sweep = ScriptedSweep(tmp_path, CHAIN)
    sweep.run()
    sweep.seconds = 0.01
    assert sorted(sweep.run()[2]) == sorted(CHAIN)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    sweep = ScriptedSweep(tmp_path / "scripts", CHAIN)
    (tmp_path / "scripts" / "sweep").write_text("")
    with pytest.raises(ConfigError, match="--output .* cannot be made"):
        sweep.run()


def test_a_task_whose_folder_is_gone_is_done_anew(tmp_path):
    sweep = ScriptedSweep(tmp_path, CHAIN)
    sweep.run()
    (tmp_path / "made" / "c").rmdir()
    assert sweep.run()[2] == ["c"]


def test_what_is_gone_on_with_does_not_tell_how_long_it_takes(tmp_path):
    sweep = ScriptedSweep(tmp_path, CHAIN, fails=["b"])
    sweep.run()
    sweep.fails = []
    sweep.run()
    marks = sweep.plan().marks
    assert marks.seconds("b") is None and marks.is_done("b") and marks.seconds("a") > 0


def test_the_time_left_is_that_of_all_jobs_together(tmp_path):
    sweep = ScriptedSweep(tmp_path, {name: [] for name in "abcdef"}, seconds=1.0)
    said = sweep.run(jobs=2)[1]
    first = next(line for line in said.splitlines() if line.startswith("[1/6]"))
    left = int(first.split("about ")[1].split(" s left")[0])
    took = sweep.plan().marks.seconds(first.split()[1].rstrip(":"))
    assert left <= 2.5 * took + 1  # 5 more tasks, by two at a time


def test_tasks_that_need_nothing_of_one_another_run_together(tmp_path):
    sweep = ScriptedSweep(tmp_path, {"a": [], "b": [], "c": ["a", "b"]}, seconds=0.5)
    sweep.run(jobs=2)
    diary = sweep.diary()
    assert set(diary[:2]) == {"+a", "+b"} and diary[-2:] == ["+c", "-c"]
    sweep = ScriptedSweep(tmp_path / "one_by_one", {"a": [], "b": [], "c": []}, seconds=0.1)
    sweep.run(jobs=1)
    assert sweep.diary() == ["+a", "-a", "+b", "-b", "+c", "-c"]


def test_each_of_several_jobs_has_a_gpu_of_its_own(tmp_path):
    script = "import os, sys; os.makedirs(sys.argv[2]); print(os.environ['CUDA_VISIBLE_DEVICES'])"
    sweep = ScriptedSweep(tmp_path, {"a": [], "b": []})
    (tmp_path / "script.py").write_text(f"import time\n{script}\ntime.sleep(0.5)")
    sweep.run(executor=LocalExecutor(devices=["2", "5"]))
    logs = tmp_path / "sweep" / "logs"
    assert sorted((logs / f"{name}.log").read_text().strip() for name in "ab") == ["2", "5"]


def test_an_interruption_ends_what_runs(tmp_path):
    sweep = ScriptedSweep(tmp_path, {"a": [], "b": ["a"]}, seconds=60)

    class Interrupted(LocalExecutor):
        def ended(self):
            if "+a" in sweep.diary():
                raise KeyboardInterrupt
            return super().ended()

    executor = Interrupted(1, devices=())
    sweep.diary_file.write_text("")
    with pytest.raises(KeyboardInterrupt):
        try:
            run_sweep(sweep.plan(), executor, print)
        finally:
            executor.ended = lambda: LocalExecutor.ended(executor)
    assert sweep.diary() == ["+a"]  # and no "-a": it has not ended by itself
    sweep.seconds = 0
    assert sweep.run()[2] == ["a", "b"]


def test_tasks_end_with_a_sweep_that_is_killed(tmp_path):
    sweep = ScriptedSweep(tmp_path, {"a": []}, seconds=60)
    sweep.diary_file.write_text("")
    pid_file = tmp_path / "pid"
    (tmp_path / "script.py").write_text(
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
from scripted import ScriptedSweep
ScriptedSweep.__init__ = lambda self: None
sweep = ScriptedSweep()
from pathlib import Path
sweep.folder, sweep.needs, sweep.fails, sweep.seconds = Path({str(tmp_path)!r}), {{"a": []}}, (), 60
sweep.diary_file = sweep.folder / "diary"
sweep.run()
"""
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    task = int(pid_file.read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    while _is_alive(task) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _is_alive(task)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] not in "ZX"  # no zombie
    except OSError:
        return False


def test_two_sweeps_in_one_folder(tmp_path):
    sweep = ScriptedSweep(tmp_path, {"a": []})
    message = f"another sweep is at work in {tmp_path}/sweep, process .*: wait for it, or choose another --output"
    with held_folder(sweep.plan().folder, "", file_name=LOCK_FILE), pytest.raises(ConfigError, match=message):
        sweep.run()
    assert sweep.run()[2] == ["a"]


def test_the_time_left_is_known_once_every_kind_is(tmp_path):
    said = ScriptedSweep(tmp_path, CHAIN).run()[1]
    assert said.count("left") == 3  # all tasks are of one kind; after the last nothing is left


@pytest.mark.parametrize("fails, states", [((), "done"), (("a",), "failed")])
def test_jobs_of_a_cluster(tmp_path, fails, states):
    pytest.importorskip("submitit")
    from frcnn_alt.sweep.executors import ClusterExecutor

    sweep = ScriptedSweep(tmp_path, {"a": [], "b": []}, fails=fails)
    executor = ClusterExecutor(str(tmp_path / "jobs"), {"timeout_min": 1}, cluster="local")
    found, said, begun = sweep.run(executor=executor)
    assert found == {"a": states, "b": "done"} and sorted(begun) == ["a", "b"]
    assert "hello from a" in (tmp_path / "sweep" / "logs" / "a.log").read_text()


def test_wrong_parameters_of_a_cluster(tmp_path):
    pytest.importorskip("submitit")
    from frcnn_alt.sweep.executors import ClusterExecutor

    with pytest.raises(ConfigError, match="--slurm"):
        ClusterExecutor(str(tmp_path), {"no_such_thing": 1}, cluster="local")
