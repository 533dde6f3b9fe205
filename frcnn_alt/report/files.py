"""Writing a report's files so that a crash leaves either the old one or the new one; folders are made as needed."""

import os

from .. import safe_write
from ..safe_write import make_folder, new_folder

__all__ = ["new_folder", "write_bytes", "write_text"]


def write_text(path: str, text: str) -> None:
    """Write `text` to `path`, replacing what was there in one go; folders are made as needed."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str, content: bytes) -> None:
    """Write `content` to `path`, as `write_text` does."""
    make_folder(os.path.dirname(path) or ".")
    safe_write.write_bytes(path, content)
