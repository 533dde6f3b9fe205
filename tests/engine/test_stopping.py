"""SIGINT and SIGTERM: a training ends after its iteration with a checkpoint, and its resume is exact."""

import os
import signal
import subprocess
import sys
import threading
import time

from frcnn_alt.engine import StepTrainer, default_argument_parser, run_command_line, stopping
from frcnn_alt.engine.failures import guarded
from frcnn_alt.engine.stopping import Stopped, StopRequest, handled, status_of, stops_after_iteration, stops_at_once

import pytest
from miniature import run, tiny_config, weights_of

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def signal_at(monkeypatch, step, iteration, *numbers):
    """Have this process receive signals in the middle of an iteration."""
    stock = StepTrainer.run_step

    def run_step(trainer):
        stock(trainer)
        if trainer.cfg.OUTPUT_DIR.endswith(step) and trainer.iter == iteration:
            for number in numbers:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(StepTrainer, "run_step", run_step)


@pytest.fixture(scope="module")
def config(shapes, tmp_path_factory):
    cfg = tiny_config(shapes, tmp_path_factory.mktemp("stopped") / "whole", exact=True)
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.STEP1.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD = "1", 9, 5000
    return cfg


@pytest.fixture(scope="module")
def whole(config):
    run(config)
    return weights_of(config.OUTPUT_DIR, "step1_rpn")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_training_ends_after_its_iteration_with_a_checkpoint(number, config, whole, tmp_path, monkeypatch, capsys):
    """After 4 of 9 iterations; by itself it writes one after every second."""
    cfg, before = config.clone(), handlers()
    cfg.OUTPUT_DIR = str(tmp_path)
    signal_at(monkeypatch, "step1_rpn", 4, number)
    args = default_argument_parser().parse_args(["--resume"])
    assert guarded(lambda: bool(run(cfg)), args=args) == 128 + number
    assert handlers() == before
    checkpoint = tmp_path / "step1_rpn" / "model_0000004.pth"
    assert capsys.readouterr().err == (
        f"stopped by {number.name} in step1_rpn after iteration 5 of 9; checkpoint: {checkpoint}; the same command "
        "with --resume goes on from the last checkpoint\n"
    )
    assert [path.name for path in checkpoint.parent.glob("model_*.pth")] == [checkpoint.name]
    monkeypatch.undo()
    done = []
    stock = StepTrainer.run_step
    monkeypatch.setattr(StepTrainer, "run_step", lambda trainer: (done.append(trainer.iter), stock(trainer)))
    run(cfg, resume=True)
    resumed = weights_of(cfg.OUTPUT_DIR, "step1_rpn")
    assert done == [5, 6, 7, 8] and all((resumed[name] == whole[name]).all() for name in whole)
    assert [path.name for path in checkpoint.parent.glob("model_*.pth")] == ["model_final.pth"]


@pytest.mark.parametrize("iteration, newest", [(3, "model_0000003.pth"), (8, "model_final.pth")])
def test_an_iteration_that_has_a_checkpoint_gets_no_second_one(iteration, newest, config, tmp_path, monkeypatch):
    cfg = config.clone()
    cfg.OUTPUT_DIR = str(tmp_path)
    signal_at(monkeypatch, "step1_rpn", iteration, signal.SIGTERM)
    with pytest.raises(Stopped, match=f"after iteration {iteration + 1} of 9; checkpoint: .*{newest}$"):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert os.listdir(tmp_path / "step1_rpn").count("model_final.pth") == 1


def test_a_second_signal_ends_at_once_but_not_an_echo_of_the_first():
    request, before = StopRequest(), handlers()
    with pytest.raises(Stopped) as stopped, stops_after_iteration(request):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # a launcher's, of the same Ctrl-C
        request._came -= 2 * stopping.SECONDS_OF_ONE_REQUEST
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")
    assert status_of(stopped.value) == 143 and not stopped.value.has_checkpoint and handlers() == before


def test_a_signal_after_the_last_iteration_is_not_lost():
    with pytest.raises(Stopped, match="stopped by SIGTERM"), stops_after_iteration(StopRequest()):
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_is_no_training_ends_at_once(capsys):
    def wait():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")

    before = handlers()
    assert guarded(wait) == 143 and handlers() == before
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    assert guarded(lambda: 5) == 5 and handlers() == before


def test_a_signal_that_is_ignored_stays_so_and_other_threads_change_nothing():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stops_at_once():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    found = []
    thread = threading.Thread(target=lambda: guarded(lambda: found.append(handlers()) or 0))
    thread.start()
    thread.join()
    assert found == [handlers()]


def test_a_forked_process_does_not_take_the_handler_for_its_own():
    with handled(lambda *_: os._exit(1)):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)  # left to the parent
            os.kill(os.getpid(), signal.SIGTERM)  # as if there were no handler
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def start_tool(config, folder, *words):
    """Start tools/train_net.py in a session of its own; returns it."""
    cfg = config.clone()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.OUTPUT_DIR, cfg.SCHEDULE.RUN_ONLY = (), (), str(folder / "run"), ""
    (folder / "mine.yaml").write_text(cfg.dump())
    command = [sys.executable, os.path.join(ROOT, "tools", "train_net.py"), "--config-file", str(folder / "mine.yaml")]
    paths = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [*command, "--steps", "1", *words],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process, seconds=120):
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize(
    "words, whole_group", [(("DATALOADER.NUM_WORKERS", "2"), True), (("--num-gpus", "2"), False)], ids=["group", "two"]
)
def test_the_command_itself(words, whole_group, config, tmp_path):
    """Ctrl-C reaches its data loaders as well; SIGTERM two processes through their parent alone."""
    number = signal.SIGINT if whole_group else signal.SIGTERM
    many = ("SCHEDULE.STEP1.MAX_ITER", "100000", "SOLVER.CHECKPOINT_PERIOD", "3")
    process = start_tool(config, tmp_path, *words, *many)
    wait_for(tmp_path / "run" / "step1_rpn" / "last_checkpoint", process)
    os.killpg(process.pid, number) if whole_group else process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number, said
    (line,) = [line for line in said.splitlines() if "stopped by" in line]
    assert line.startswith(f"stopped by {number.name} in step1_rpn after iteration ") and "Traceback" not in said
    written = line.split("checkpoint: ")[1].split(";")[0]
    assert os.path.isfile(written) and (tmp_path / "run" / "step1_rpn" / "last_checkpoint").read_text() in written
    assert int(written[-11:-4]) + 1 == int(line.split("iteration ")[1].split()[0])


def test_an_earlier_keyboard_interrupt_is_said_as_before(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert guarded(interrupted, args=default_argument_parser().parse_args([])) == 130
    said = capsys.readouterr().err
    assert said == "interrupted; the same command with --resume goes on from the last checkpoint\n"


def test_restarting_is_gone_on_with_without_restarting(tmp_path, capsys):
    def interrupted(args):
        raise Stopped(signal.SIGTERM)

    args = default_argument_parser().parse_args([])
    args.restart_from = "2"
    assert run_command_line(interrupted, args) == 143
    assert "with --resume in place of --restart-from goes on" in capsys.readouterr().err


def test_a_library_that_makes_an_error_of_its_own_of_a_stop(capsys):
    """As omegaconf does, whose cleaning up fails where it is interrupted."""

    def run():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            raise AttributeError("'NoneType' object has no attribute '_invalidate_flags_cache'")

    assert guarded(run) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
