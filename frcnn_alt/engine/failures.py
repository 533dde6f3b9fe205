"""What a command says when it fails, and its exit status: people's mistakes in one line, and each reason once.

Several processes usually fail together, because of the same mistake or because one of them has gone. The first to fail
says why; the others are silent.
"""

import os
import sys
import traceback
from typing import Callable, Optional

from ..checkpointing import CheckpointError
from ..data import DatasetError
from ..proposals import ProposalSetError
from .defaults import ConfigError

__all__ = ["INTERRUPTED", "MISTAKE", "first_to_fail", "guarded"]

_USERS_MISTAKES = (ConfigError, DatasetError, CheckpointError, ProposalSetError)

FAILURE, MISTAKE, INTERRUPTED = 1, 2, 130  # exit statuses


def first_to_fail(path: str, status: int) -> bool:
    """Whether this process is the first of those that ask, on one machine: the one that creates the file at `path`.

    Its exit status is what the file holds.
    """
    try:
        with open(path, "x") as file:
            file.write(str(status))
    except OSError:
        return False
    return True


def guarded(run: Callable[[], int], may_speak: Optional[Callable[[int], bool]] = None) -> int:
    """Return what `run` returns, or say why it failed and return the exit status.

    A mistake of people's is one line and status 2; ``FRCNN_ALT_TRACEBACK=1`` in the environment makes it a traceback.

    Args:
        run: returns an exit status.
        may_speak: of several processes, asked with the exit status when this one fails, whether it is the one that says
            why. None where there is one process; what nobody expected is raised there, and else becomes a traceback and
            status 1.
    """
    try:
        return run()
    except KeyboardInterrupt:
        text, status = "interrupted; the same command with --resume goes on from the last checkpoint", INTERRUPTED
    except SystemExit as error:  # of detectron2's verify_results, which has said why
        if may_speak is None:
            raise
        text, status = "", error.code if isinstance(error.code, int) else FAILURE
    except Exception as error:
        is_mistake = isinstance(error, _USERS_MISTAKES) and not os.environ.get("FRCNN_ALT_TRACEBACK")
        if may_speak is None and not is_mistake:
            raise
        text, status = (f"error: {error}", MISTAKE) if is_mistake else (traceback.format_exc(), FAILURE)
    if (may_speak is None or may_speak(status)) and text:
        print(text, file=sys.stderr, flush=True)
    return status
