"""A command on several processes: how they are started, on what, and how all of them end when one fails."""

import json
import multiprocessing
import socket
import time
from functools import partial
from pathlib import Path

from frcnn_alt.engine import processes, run_command_line
from frcnn_alt.engine.world_size import number_of_processes

import pytest
import torch
from detectron2.utils import comm
from process_commands import TWO, arguments, fail, make_a_mistake, own_folder, places, write_place
from torch.multiprocessing import start_processes
from two_processes import at_most, join

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")


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
    said = (tmp_path / "said").read_text()
    assert said == "interrupted; the same command with --resume goes on from the last checkpoint\n"


def test_a_process_that_exits_has_said_why(tmp_path):
    with at_most(60):
        assert run_command_line(partial(fail, rank=0, how="exit"), arguments(tmp_path, *TWO)) == 7
    assert (tmp_path / "said").read_text() == ""


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
