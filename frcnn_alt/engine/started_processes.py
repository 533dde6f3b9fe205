"""What the command that has started processes does for them: signals reach all of them, and none outlives it."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, Callable, Iterator, List

from .stopping import SECONDS_OF_ONE_REQUEST, Stopped, handled

__all__ = ["no_child_left", "signals_passed_on", "start_fork_server"]

_SECONDS_TO_END = 5.0  # for a process that is to end at once


def start_fork_server() -> None:
    """Start Python's server that processes are forked from, with SIGTERM blocked, also in these.

    Where SIGTERM is sent to all processes of a command, the server's end would pass for the end of what it has started.
    """
    resource_tracker.ensure_running()  # it unblocks SIGTERM when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def no_child_left() -> Iterator[Callable[[], List[BaseProcess]]]:
    """At the end of this context, end what was started in it; its value returns what of this still runs."""
    before = multiprocessing.active_children()

    def children() -> List[BaseProcess]:
        return [child for child in multiprocessing.active_children() if child not in before]

    try:
        yield children
    finally:
        for child in children():
            child.join(_SECONDS_TO_END)
            child.terminate()


@contextlib.contextmanager
def signals_passed_on(children: Callable[[], List[BaseProcess]]) -> Iterator[List[int]]:
    """Pass SIGINT and SIGTERM on to the processes that were started here, which may be the only ones not to have it.

    They take as long as they need to write a checkpoint. After a second signal they end at once, or are killed.

    Args:
        children: returns the processes.

    Yields:
        The signals that came.
    """
    came: List[int] = []
    first: List[float] = []

    def kill() -> None:
        for child in children():
            child.kill()

    def pass_on(number: int, _: Any) -> None:
        if not children():  # none is there yet, or any more: nobody else would end the command
            raise Stopped(number)
        came.append(number)
        first[:] = first or [time.monotonic()]
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)
        if time.monotonic() - first[0] > SECONDS_OF_ONE_REQUEST:
            timer = threading.Timer(_SECONDS_TO_END, kill)
            timer.daemon = True
            timer.start()

    with handled(pass_on):
        yield came
