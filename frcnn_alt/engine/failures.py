"""What a command says when it fails, and its exit status: people's mistakes in one line, and each reason once.

Several processes usually fail together, because of the same mistake or because one of them has gone. The first to fail
says why; the others are silent.
"""

import argparse
import logging
import os
import re
import sys
import traceback
from typing import Callable, Optional

from ..safe_write import is_write_failure, write_error
from .mistakes import USERS_MISTAKES
from .nonfinite import NonFiniteError
from .stopping import Stopped, status_of, stops_at_once

__all__ = ["MISTAKE", "first_to_fail", "guarded", "how_to_go_on"]

FAILURE, MISTAKE = 1, 2  # exit statuses


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


def how_to_go_on(args: Optional[argparse.Namespace] = None) -> str:
    """What to tell whoever has stopped the command of `args`; nothing where it cannot be gone on with."""
    if not hasattr(args, "resume"):
        return ""
    how = "--resume in place of --restart-from" if getattr(args, "restart_from", None) else "--resume"
    return f"; the same command with {how} goes on from the last checkpoint"


def _explains(error: Optional[BaseException]) -> bool:
    """Whether an exception's message is all that people need."""
    return isinstance(error, (*USERS_MISTAKES, NonFiniteError)) and not os.environ.get("FRCNN_ALT_TRACEBACK")


def _is_news(record: logging.LogRecord) -> bool:
    """detectron2's loop logs whatever ends it, with a traceback; what explains itself is said once, at the end."""
    return not (record.exc_info and _explains(record.exc_info[1]))


def _with_address(error: Exception) -> Exception:
    """A full disk that some library met, as the one sentence that this package has for it."""
    if isinstance(error, OSError) and is_write_failure(error):
        return write_error(error.filename or "a file", error)
    return error


def _as_raised(error: Exception) -> str:
    """The message of an error; of one from a data loader's worker without the traceback that torch puts before it."""
    name = type(error).__name__
    return re.sub(rf"\ACaught {name} in .*\n(?:\w+\.)*{name}: ", "", str(error), flags=re.DOTALL)


def guarded(
    run: Callable[[], int],
    may_speak: Optional[Callable[[int], bool]] = None,
    args: Optional[argparse.Namespace] = None,
) -> int:
    """Return what `run` returns, or say why it failed and return the exit status.

    SIGINT and SIGTERM end `run` at once, where it does not take them itself: status 130 and 143. A mistake of people's,
    or a file that cannot be written, is one line and status 2, a loss that is NaN one line and status 1;
    ``FRCNN_ALT_TRACEBACK=1`` in the environment makes it a traceback.

    Args:
        run: returns an exit status.
        may_speak: of several processes, asked with the exit status when this one fails, whether it is the one that says
            why. None where there is one process; what nobody expected is raised there, and else becomes a traceback and
            status 1.
        args: the command line, which tells how to go on with what was stopped.
    """
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_news)
    try:
        with stops_at_once():
            return run()
    except KeyboardInterrupt as interrupt:
        what = interrupt if isinstance(interrupt, Stopped) else "interrupted"
        text, status = f"{what}{how_to_go_on(args)}", status_of(interrupt)
    except SystemExit as error:  # of detectron2's verify_results, which has said why
        if may_speak is None:
            raise
        text, status = "", error.code if isinstance(error.code, int) else FAILURE
    except Exception as raised:
        error = _with_address(raised)
        explains = _explains(error)
        if may_speak is None and not explains:
            raise
        text = f"error: {_as_raised(error)}" if explains else traceback.format_exc()
        status = MISTAKE if isinstance(error, USERS_MISTAKES) and explains else FAILURE
    if (may_speak is None or may_speak(status)) and text:
        print(text, file=sys.stderr, flush=True)
    return status
