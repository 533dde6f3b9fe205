"""A command on several processes: how they are started, on what, and how all of them end when one fails."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from frcnn_alt.engine import ConfigError, default_argument_parser, processes, run_command_line
from frcnn_alt.engine.world_size import number_of_processes

import pytest
import torch
from detectron2.utils import comm
from torch.multiprocessing import start_processes
from two_processes import at_most, join

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")

ROOT = Path(__file__).resolve().parents[2]
TWO = ("--num-gpus", "2")


def arguments(folder, *words):
    """A command line whose functions write into `folder`."""
    return default_argument_parser().parse_args([*words, "FOLDER", str(folder)])


def own_folder(args):
    """The folder, where what this process says goes too."""
    folder = Path(args.opts[-1])
    sys.stderr = open(folder / "said", "a", buffering=1)  # noqa: SIM115
    return folder


def write_place(args):
    numbers = {"rank": comm.get_rank(), "local": comm.get_local_rank(), "size": comm.get_local_size()}
    about = {**numbers, "sum": sum(comm.all_gather(comm.get_rank() + 1)), "threads": torch.get_num_threads()}
    (own_folder(args) / f"{comm.get_rank()}.json").write_text(json.dumps(about))
    return 0


def make_a_mistake(args):
    own_folder(args)
    raise ConfigError("SOME.KEY is wrong")


def fail(args, rank, how):
    """One process fails, and the others wait for it in vain."""
    own_folder(args)
    if comm.get_rank() != rank:
        comm.synchronize()
    elif how == "raise":
        raise RuntimeError("this went wrong")
    elif how == "interrupt":
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.SIGKILL)


def places(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_the_flags_start_processes_that_share_the_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with at_most(60):
        assert run_command_line(write_place, arguments(tmp_path, *TWO)) == 0
    assert places(tmp_path) == [{"rank": r, "local": r, "size": 2, "sum": 3, "threads": 3} for r in (0, 1)]


def write_start_method(args):
    (own_folder(args) / f"{comm.get_rank()}.json").write_text(json.dumps(multiprocessing.get_start_method()))
    return 0


def test_their_data_loaders_start_workers_as_in_one_process(tmp_path):
    with at_most(60):
        assert run_command_line(write_start_method, arguments(tmp_path, *TWO)) == 0
    assert places(tmp_path) == [multiprocessing.get_start_method()] * 2


@pytest.mark.parametrize("rank", [0, 1])
def test_an_exception_in_one_process_ends_all_and_is_said_once(rank, tmp_path):
    with at_most(60):
        assert run_command_line(partial(fail, rank=rank, how="raise"), arguments(tmp_path, *TWO)) == 1
    said = (tmp_path / "said").read_text()
    assert said.count("Traceback") == 1 and said.endswith("RuntimeError: this went wrong\n\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_is_named_with_its_signal(rank, tmp_path, capfd):
    began = time.monotonic()
    with at_most(60):
        assert run_command_line(partial(fail, rank=rank, how="kill"), arguments(tmp_path, *TWO)) == 128 + 9
    assert f"error: process {rank} was killed by SIGKILL" in capfd.readouterr().err
    assert time.monotonic() - began < 40


def test_an_interrupted_process_ends_all(tmp_path):
    with at_most(60):
        assert run_command_line(partial(fail, rank=1, how="interrupt"), arguments(tmp_path, *TWO)) == 130
    assert (tmp_path / "said").read_text().startswith("interrupted; the same command with --resume")


def test_a_mistake_that_all_processes_make_is_said_once(tmp_path):
    with at_most(60):
        assert run_command_line(make_a_mistake, arguments(tmp_path, *TWO)) == 2
    assert (tmp_path / "said").read_text() == "error: SOME.KEY is wrong\n"


def hold(args, writer):
    writer.send(comm.get_rank())
    time.sleep(600)


def command(folder, writer):
    torch.set_num_threads(1)
    run_command_line(partial(hold, writer=writer), arguments(folder, *TWO))


def test_when_the_command_itself_is_killed_its_processes_end(tmp_path):
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=command, args=(tmp_path, writer))
    process.start()
    writer.close()
    with at_most(120):
        assert {reader.recv(), reader.recv()} == {0, 1}
        process.kill()
        with pytest.raises(EOFError):  # nobody is left who could write
            reader.recv()


def machine(rank, folder, port):
    words = ["--num-machines", "2", "--machine-rank", str(rank)]
    processes._started_process_on_cpu(
        *(0, 1, f"tcp://127.0.0.1:{port}"),
        *(write_place, arguments(folder, *words), str(folder / f"failed{rank}"), "forkserver"),
    )


def test_processes_of_several_machines_find_each_other(tmp_path):
    """Both machines are this one."""
    with socket.socket() as some_port:
        some_port.bind(("127.0.0.1", 0))
        port = some_port.getsockname()[1]
    join(start_processes(machine, (tmp_path, port), 2, join=False, start_method="forkserver"))
    assert places(tmp_path) == [{"rank": r, "local": 0, "size": 1, "sum": 3, "threads": 1} for r in (0, 1)]


def as_torchrun_would(rank, folder, port, function, words):
    torch.set_num_threads(1)
    own_folder(arguments(folder))
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    who = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in {**where, **who}.items()})
    status = run_command_line(function, arguments(folder, *words))
    (folder / f"status{rank}").write_text(str(status))
    assert not torch.distributed.is_initialized() or status


def under_torchrun(function, folder, *words):
    """The exit statuses of two processes in torchrun's environment, of whom this one keeps the store, as torchrun."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    work = (folder, store.port, function, words)
    join(start_processes(as_torchrun_would, work, 2, join=False, start_method="forkserver"))
    return [int((folder / f"status{rank}").read_text()) for rank in (0, 1)]


def test_under_torchrun_the_processes_join_each_other(tmp_path):
    assert under_torchrun(write_place, tmp_path) == [0, 0]
    assert places(tmp_path) == [{"rank": r, "local": r, "size": 2, "sum": 3, "threads": 1} for r in (0, 1)]


def test_under_torchrun_a_mistake_is_said_once(tmp_path):
    assert under_torchrun(make_a_mistake, tmp_path) == [2, 2]
    assert (tmp_path / "said").read_text() == "error: SOME.KEY is wrong\n"


def test_under_torchrun_the_flags_must_not_ask_for_processes(tmp_path):
    assert under_torchrun(write_place, tmp_path, *TWO) == [2, 2]
    said = (tmp_path / "said").read_text()
    assert said.startswith("error: torchrun has started 2 processes, and --num-gpus 2") and said.count("\n") == 1


def test_under_torchrun_a_killed_process_ends_all_and_is_named_with_its_signal(tmp_path):
    script = (
        "import sys, test_processes as t; from functools import partial; "
        f"sys.exit(t.run_command_line(partial(t.fail, rank=1, how='kill'), t.arguments({str(tmp_path)!r})))"
    )
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [sys.executable, *torchrun, sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode != 0
    cause = done.stderr[done.stderr.index("Root Cause") :]
    assert "rank      : 1 " in cause and "Signal 9 (SIGKILL)" in cause


@pytest.mark.parametrize(
    "environment, words, message",
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, (), "LOCAL_RANK and LOCAL_WORLD_SIZE are no number"),
        ({"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, (), "the same --nproc-per-node"),
        ({}, ("--num-gpus", "2", "--machine-rank", "1"), "--machine-rank 1"),
    ],
)
def test_contradictions_are_one_error(environment, words, message, tmp_path, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run_command_line(write_place, arguments(tmp_path, *words)) == 2
    assert message in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert run_command_line(write_place, arguments(tmp_path, *TWO)) == 2
    assert "2 processes on this machine, which has 1 GPUs" in capsys.readouterr().err


def count_processes(args):
    (Path(args.opts[-1]) / "planned").write_text(str(number_of_processes()))
    return comm.get_world_size() - 1


@pytest.mark.parametrize(
    "environment, planned",
    [
        ({}, "6"),
        ({"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, "4"),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, None),  # the first one plans
    ],
)
def test_a_dry_run_is_one_process_that_plans_for_all(environment, planned, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = [] if environment else ["--num-gpus", "3", "--num-machines", "2"]
    assert run_command_line(count_processes, arguments(tmp_path, "--dry-run", *words)) == 0
    assert [file.read_text() for file in tmp_path.iterdir()] == ([planned] if planned else [])
    assert number_of_processes() == 1
