"""Stopping by SIGINT (Ctrl-C) or SIGTERM: a command ends at once; a training after its iteration, with a checkpoint.

A process that is told to stop raises `Stopped`, whose exit status is that of every shell: 128 and the signal's number.
Handlers are set by context managers, which put the earlier ones back: the trainers are used as a library too.
"""

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, Dict, Iterator, Optional

from detectron2.engine import HookBase
from detectron2.utils import comm

from .hooks import NewestCheckpointer

__all__ = ["SECONDS_OF_ONE_REQUEST", "STOP_SIGNALS", "StopRequest", "StopTraining", "Stopped", "handled", "status_of"]
__all__ += ["stops_after_iteration", "stops_at_once"]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal signals all of its processes, and a launcher (ours, torchrun) passes on to its own what it was sent: what
# comes within so many seconds of the first is the same request.
SECONDS_OF_ONE_REQUEST = 1.0

Handler = Callable[[int, Optional[FrameType]], Any]


class Stopped(KeyboardInterrupt):
    """The process was told to stop by a signal.

    Attributes:
        number: of the signal.
        has_checkpoint: whether a training has written one first, and all its processes have come to the same point.
    """

    def __init__(self, number: int, where: str = "", *, has_checkpoint: bool = False):
        self.number = number
        self.has_checkpoint = has_checkpoint
        super().__init__(f"stopped by {signal.Signals(number).name}{where}")


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a command that an interrupt ends: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (interrupt.number if isinstance(interrupt, Stopped) else signal.SIGINT)


@contextlib.contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Have `handler` take SIGINT and SIGTERM while the block runs; the earlier handlers are back after it.

    Outside the main thread, which alone may set handlers, nothing changes; a signal that is ignored (SIGINT is, in what
    a script starts in the background) stays so. A process that is forked meanwhile does not take the handler for its
    own.
    """
    owner = os.getpid()

    def in_this_process(number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() == owner:
            handler(number, frame)
        elif number != signal.SIGINT:  # which the parent has, too
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    earlier: Dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # None: set by something that is not Python, and could not be put back.
        kept = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        earlier = {number: one for number, one in kept.items() if one not in (None, signal.SIG_IGN)}
    try:
        for number in earlier:
            signal.signal(number, in_this_process)
        yield
    finally:
        for number, one in earlier.items():
            if signal.getsignal(number) is in_this_process:  # else somebody has had it ignored meanwhile, for good
                signal.signal(number, one)


@contextlib.contextmanager
def stops_at_once() -> Iterator[None]:
    """A context in which SIGINT and SIGTERM raise `Stopped` where they find the program."""
    came = []

    def stop(number: int, _: Optional[FrameType]) -> None:
        came.append(number)
        raise Stopped(number)

    with handled(stop):
        try:
            yield
        except Exception as error:
            if came:  # libraries that are stopped in the middle of something may turn it into an error of their own
                raise Stopped(came[0]) from error
            raise


class StopRequest:
    """The wish to stop, noted until the iteration is finished. A second one, later, raises `Stopped` at once.

    Attributes:
        number: of the signal that came first; 0 while none has come.
    """

    def __init__(self) -> None:
        self.number = 0
        self._came = 0.0

    def note(self, number: int, _: Optional[FrameType] = None) -> None:
        """The signal handler."""
        if self.number == 0:
            self.number, self._came = number, time.monotonic()
        elif time.monotonic() - self._came > SECONDS_OF_ONE_REQUEST:
            raise Stopped(number)


@contextlib.contextmanager
def stops_after_iteration(request: StopRequest) -> Iterator[None]:
    """A context for a training with the hook `StopTraining`: signals are noted in `request`.

    Raises:
        Stopped: at the end, if one came after the last iteration had asked.
    """
    with handled(request.note):
        yield
    if request.number:
        raise Stopped(request.number)


class StopTraining(HookBase):
    """Ends the training after an iteration in which any of its processes was told to stop, with a checkpoint.

    Belongs behind the hook that writes checkpoints and in front of the evaluation: whoever sends signals seldom waits
    for as long as an evaluation takes, and one that is due after this iteration is left out.

    Args:
        request: of this process.
        name: of what is trained, for people.
        checkpoints: the hook that writes them, on the main process.
    """

    def __init__(self, request: StopRequest, name: str, checkpoints: Optional[NewestCheckpointer] = None):
        self.request = request
        self.name = name
        self.checkpoints = checkpoints

    def after_step(self) -> None:
        numbers = comm.all_gather(self.request.number) if comm.get_world_size() > 1 else [self.request.number]
        number = max(numbers)
        if not number:
            return
        file = self.checkpoints.save_now() if self.checkpoints is not None else ""
        file = comm.all_gather(file)[0]  # no process ends, and takes the others with it, before the file is written
        where = f" in {self.name} after iteration {self.trainer.iter + 1} of {self.trainer.max_iter}"
        raise Stopped(number, f"{where}; checkpoint: {file}", has_checkpoint=True)
