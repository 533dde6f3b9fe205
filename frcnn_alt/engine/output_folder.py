"""The folder that a command writes into: whether there can be one, before anything is computed, and what is left of it.

A command that is refused leaves no folder behind that it made before it knew, and no config of a run that never was.
The log and the list of what is malformed stay, for they say why.
"""

import contextlib
import os
from typing import Iterator, Set

from detectron2.utils import comm

from .defaults import ConfigError
from .mistakes import USERS_MISTAKES

__all__ = ["check_output_folder", "tidied_if_refused"]

# What setting up a command writes into its folder before anything is computed.
_CONFIG, _LOGS, _MALFORMED = "config.yaml", "log.txt", "malformed.txt"


def check_output_folder(folder: str, flag: str) -> None:
    """Make sure that `folder` is there and can be written into, or can be made; nothing is made.

    Args:
        folder: to write into.
        flag: or key, that names it.

    Raises:
        ConfigError: it is a file, or lies below one, or may not be written into.
    """
    path = os.path.abspath(folder)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        what = "is a file" if os.path.realpath(path) == os.path.realpath(folder) else f"lies below {path}, a file"
        raise ConfigError(f"{flag} {folder} {what}: name a folder.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"{flag} {folder}: {path} may not be written into; name another folder.")


@contextlib.contextmanager
def tidied_if_refused(folder: str) -> Iterator[None]:
    """Where the block ends with a mistake of people's before anything was made, take away what setting it up wrote.

    That is ``config.yaml``, logs that say nothing, and folders that are empty then, none of which was there. A folder
    that holds anything else is left alone. In the main process; the others do nothing.

    Args:
        folder: that the command writes into; "" for none.
    """
    missing = []  # innermost first
    path = os.path.abspath(folder) if folder else ""
    there = set(os.listdir(path)) if os.path.isdir(path) else set()
    while path and not os.path.exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    try:
        yield
    except USERS_MISTAKES:
        if folder and comm.is_main_process():
            with contextlib.suppress(OSError):  # the mistake is what matters
                _tidy(folder, there)
            with contextlib.suppress(OSError):
                for path in missing:
                    os.rmdir(path)  # fails where something is left
        raise


def _tidy(folder: str, there: Set[str]) -> None:
    names = os.listdir(folder)
    if not all(name in (*there, _CONFIG, _MALFORMED) or name.startswith(_LOGS) for name in names):
        return
    for name in names:
        path = os.path.join(folder, name)
        says_nothing = name.startswith(_LOGS) and os.path.getsize(path) == 0
        if name not in there and (says_nothing or name == _CONFIG):
            os.remove(path)
