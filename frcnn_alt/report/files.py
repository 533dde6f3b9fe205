"""Writing beside and renaming, so that a crash leaves either the old report or the new one."""

import contextlib
import os
import shutil
from typing import Iterator

__all__ = ["new_folder", "write_bytes", "write_text"]


def write_text(path: str, text: str) -> None:
    """Write `text` to `path`, replacing what was there in one go; folders are made as needed."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str, content: bytes) -> None:
    """Write `content` to `path`, as `write_text` does."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(f"{path}.partial", "wb") as file:
        file.write(content)
    os.replace(f"{path}.partial", path)


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[str]:
    """Hand out an empty folder that takes the place of `path` when the block ends without an exception."""
    partial, old = f"{path}.partial", f"{path}.old"
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(partial)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if os.path.isdir(path):
        os.rename(path, old)  # a folder cannot be renamed onto one that holds files
    os.rename(partial, path)
    shutil.rmtree(old, ignore_errors=True)
