"""Two processes of one gloo group, for tests of what several processes do together; and a limit on how long they may.

They are forked from a server that has imported the package and done nothing else: they start in no time, and torch's
backward pass, which does not survive a fork, has not run before.
"""

import contextlib
import multiprocessing
import pickle
import signal
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List

from frcnn_alt.compat import create_local_process_group

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessContext, start_processes

multiprocessing.get_context("forkserver").set_forkserver_preload(["frcnn_alt.engine"])


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what still runs after so many seconds: processes that wait for each other never end."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def on_two_processes(function: Callable[..., Any], *args: Any, seconds: int = 120) -> List[Any]:
    """Return what ``function(*args)`` returns in each of two processes, by rank.

    Args:
        function: of a module; it, `args` and what it returns are pickled. Data sets have to be registered anew.
        seconds: that it may take.
    """
    with tempfile.TemporaryDirectory() as folder:
        join(start_processes(_process, (folder, function, args), 2, join=False, start_method="forkserver"), seconds)
        return [pickle.loads(Path(folder, f"result{rank}").read_bytes()) for rank in (0, 1)]


def join(context: ProcessContext, seconds: int = 60) -> None:
    """Wait for the processes of `context`, and leave none behind."""
    try:
        with at_most(seconds):
            while not context.join():
                pass
    finally:
        for process in context.processes:
            process.kill()


def _process(rank: int, folder: str, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    create_local_process_group(2)
    Path(folder, f"result{rank}").write_bytes(pickle.dumps(function(*args)))
    dist.destroy_process_group()
