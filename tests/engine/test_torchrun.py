"""A command under torchrun: its processes join each other, and all of them end when one fails."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from frcnn_alt.engine import run_command_line

import pytest
import torch
from process_commands import TWO, arguments, fail, make_a_mistake, own_folder, places, write_place
from torch.multiprocessing import start_processes
from two_processes import join

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")

ROOT = Path(__file__).resolve().parents[2]


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


def test_the_processes_join_each_other(tmp_path):
    assert under_torchrun(write_place, tmp_path) == [0, 0]
    assert places(tmp_path) == [{"rank": r, "local": r, "size": 2, "sum": 3, "threads": 1} for r in (0, 1)]


def test_a_mistake_of_all_is_said_once(tmp_path):
    assert under_torchrun(make_a_mistake, tmp_path) == [2, 2]
    assert (tmp_path / "said").read_text() == "error: SOME.KEY is wrong\n"


@pytest.mark.parametrize("rank", [0, 1])
def test_an_exception_in_one_process_ends_all_and_is_said_once(rank, tmp_path):
    assert under_torchrun(partial(fail, rank=rank, how="raise"), tmp_path) == [1, 1]
    said = (tmp_path / "said").read_text()
    assert said.count("Traceback") == 1 and "RuntimeError: this went wrong" in said


def test_the_flags_must_not_ask_for_processes(tmp_path):
    assert under_torchrun(write_place, tmp_path, *TWO) == [2, 2]
    said = (tmp_path / "said").read_text()
    assert said.startswith("error: torchrun has started 2 processes, and --num-gpus 2") and said.count("\n") == 1


def test_a_killed_process_ends_all_and_is_named_with_its_signal(tmp_path):
    script = (
        "import sys, process_commands as p; from functools import partial; "
        "from frcnn_alt.engine import run_command_line; "
        f"sys.exit(run_command_line(partial(p.fail, rank=1, how='kill'), p.arguments({str(tmp_path)!r})))"
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
