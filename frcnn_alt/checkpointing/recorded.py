"""The sha256 of every checkpoint of a training, in a file beside them, so that none is resumed that was damaged since.

The file is in the form of sha256sum: ``sha256sum --check --ignore-missing checkpoints.sha256`` verifies them too.
"""

import logging
import os
from typing import Dict, Optional

from detectron2.utils import comm

from ..safe_write import write_text
from .errors import CheckpointError
from .read import file_sha256, read_checkpoint

__all__ = ["HASHES_FILE", "checkpoint_to_resume", "record_hash"]

logger = logging.getLogger(__name__)

HASHES_FILE = "checkpoints.sha256"


def _read(folder: str) -> Dict[str, str]:
    """File name -> hex sha256; empty where nothing is recorded."""
    try:
        with open(os.path.join(folder, HASHES_FILE)) as file:
            lines = [line.rstrip("\n").split("  ", 1) for line in file]
    except (OSError, UnicodeDecodeError):
        return {}
    return {words[1]: words[0] for words in lines if len(words) == 2}


def record_hash(path: str) -> None:
    """Note the sha256 of a checkpoint as it is now; to be called before ``last_checkpoint`` names it."""
    folder, name = os.path.split(path)
    kept = {other: value for other, value in _read(folder).items() if os.path.isfile(os.path.join(folder, other))}
    hashes = {**kept, name: file_sha256(path)}
    lines = (f"{value}  {other}\n" for other, value in hashes.items())
    write_text(os.path.join(folder, HASHES_FILE), "".join(lines))


def checkpoint_to_resume(folder: str) -> str:
    """Return the newest checkpoint of the training in `folder`, "" if it has to begin anew; the main process looks.

    One that is not as it was written is named in a warning, and not used. One whose hash nobody recorded, of an earlier
    version of this package, is used if it can be read.
    """
    return comm.all_gather(_checkpoint_to_resume(folder) if comm.is_main_process() else "")[0]


def _checkpoint_to_resume(folder: str) -> str:
    try:
        with open(os.path.join(folder, "last_checkpoint"), encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
    except FileNotFoundError:
        return ""
    path = os.path.join(folder, name)
    problem = _problem(path, _read(folder).get(name))
    if problem:
        logger.warning("%s %s. It is not used: this training begins anew from its initial weights.", path, problem)
        return ""
    return path


def _problem(path: str, recorded: Optional[str]) -> str:
    if not os.path.isfile(path):
        return "is what last_checkpoint names, and is no file"
    if recorded is not None:
        is_same = file_sha256(path) == recorded
        return "" if is_same else f"is damaged: its sha256 is not that of {HASHES_FILE}, with which it was written"
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        return f"is damaged ({error})"
    return ""
