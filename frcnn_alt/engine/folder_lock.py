"""Holding a folder, so that two commands never write into it together.

The kernel keeps the lock (flock) on a file of the folder and releases it when the process ends, however it does. The
file stays behind, and what it says of a process that has ended means nothing.
"""

import contextlib
import datetime
import errno
import fcntl
import logging
import os
import socket
from typing import IO, Iterator, Set

from detectron2.utils import comm

from .defaults import ConfigError
from .mistakes import USERS_MISTAKES

__all__ = ["LOCK_FILE", "held_folder"]

logger = logging.getLogger(__name__)

LOCK_FILE = "run.lock"

_held: Set[IO[str]] = set()


def _forget_in_child() -> None:
    """A forked process (a data loader's) would hold what it inherits for longer than its parent lives."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


@contextlib.contextmanager
def held_folder(folder: str, key: str, *, what: str = "another run", file_name: str = LOCK_FILE) -> Iterator[None]:
    """Hold `folder`, which is made if it is missing, while the block runs; of several processes, the main one does.

    On a file system without such locks that is a warning, and the block runs all the same.

    Args:
        folder: where the block writes.
        key: what names the folder on the command line, for messages.
        what: may be holding it, for the message.
        file_name: of the lock in the folder.

    Raises:
        ConfigError: another process holds it (it is named), or it cannot be written to.
    """
    if not comm.is_main_process():
        yield
        return
    path = os.path.join(folder, file_name)
    is_new = not os.path.exists(folder)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{key} {folder} cannot be made: {error}.") from error
    was_there = os.path.exists(path)
    try:
        file = open(path, "a+")  # noqa: SIM115  closed below; not emptied before it is ours
    except OSError as error:
        raise ConfigError(f"{key} {folder} cannot be written to: {error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                file.seek(0)
                raise ConfigError(
                    f"{what} is at work in {folder}, {file.read().strip() or 'begun just now'}: wait for it, or choose "
                    f"another {key}."
                ) from error
            logger.warning(
                "%s cannot be locked (%s): nothing keeps another command from writing there too.", path, error.strerror
            )
        _held.add(file)
        try:
            file.truncate(0)
            now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}\n")
            file.flush()
            yield
        except USERS_MISTAKES:
            if not was_there:  # a command that is refused leaves nothing; nobody else can hold it yet
                with contextlib.suppress(OSError):
                    os.remove(path)
                    if is_new:
                        os.rmdir(folder)  # fails where something is left
            raise
        finally:
            _held.discard(file)
