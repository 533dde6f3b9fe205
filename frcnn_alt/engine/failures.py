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

__all__ = ["INTERRUPTED", "MISTAKE", "guarded", "may_create"]

_USERS_MISTAKES = (ConfigError, DatasetError, CheckpointError, ProposalSetError)

FAILURE, MISTAKE, INTERRUPTED = 1, 2, 130  # exit statuses


def may_create(path: str) -> bool:
    """Whether this process is the first of those that ask, on one machine: it is the one that creates the file."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except OSError:
        return False
    return True


def guarded(run: Callable[[], int], may_speak: Optional[Callable[[], bool]] = None) -> int:
    """Return what `run` returns, or say why it failed and return the exit status.

    A mistake of people's is one line and status 2; ``FRCNN_ALT_TRACEBACK=1`` in the environment makes it a traceback.

    Args:
        run: returns an exit status.
        may_speak: of several processes, asked when this one fails, whether it is the one that says so. None where
            there is one process; what nobody expected is raised there, and else becomes a traceback and status 1.
    """
    try:
        return run()
    except KeyboardInterrupt:
        text = "interrupted; the same command with --resume goes on from the last checkpoint"
        status = INTERRUPTED
    except Exception as error:
        is_mistake = isinstance(error, _USERS_MISTAKES) and not os.environ.get("FRCNN_ALT_TRACEBACK")
        if may_speak is None and not is_mistake:
            raise
        text, status = (f"error: {error}", MISTAKE) if is_mistake else (traceback.format_exc(), FAILURE)
    if may_speak is None or may_speak():
        print(text, file=sys.stderr, flush=True)
    return status
