"""Writing so that a crash leaves the old file or the new one, and a failure says which file, why, and the mend.

A file is written beside its place (``<path>.partial``), brought to the disk, and renamed: who reads finds the old one
or the new one, whole. A disk that is full, a folder that is read-only or gone ends in a `WriteError`, and the partial
file is removed. Every room writes through this module; what writes by itself (detectron2's metrics, logging) is wrapped
by `naming_errors`.
"""

import contextlib
import errno
import os
import shutil
from typing import IO, Any, Iterator, Optional, Union

__all__ = ["WriteError", "is_write_failure", "make_folder", "naming_errors", "new_folder", "replacing"]
__all__ += ["sync_folder", "write_bytes", "write_error", "write_text"]

PathLike = Union[str, "os.PathLike[str]"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class WriteError(OSError):
    """A file or folder cannot be written; the message names it, the reason and the mend. Earlier files are whole."""


def is_write_failure(error: BaseException) -> bool:
    """Whether an error of the system can come of writing alone."""
    return isinstance(error, WriteError) or (isinstance(error, OSError) and error.errno in (*_FULL, errno.EROFS))


def _mend(path: str, number: Optional[int]) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    if number in _FULL:
        with contextlib.suppress(OSError):  # the folder itself may be gone
            return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB are free there: make room"
        return "make room there"
    if number in _FORBIDDEN:
        return f"make {folder} writable, or name another folder"
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE) and not os.path.isdir(folder):
        return f"there is no folder {folder} (any more): put it back, or name another one"
    return f"look at {folder} and its disk"


def write_error(path: PathLike, error: OSError) -> WriteError:
    """`error`, which came of writing to `path`, as one sentence for people."""
    if isinstance(error, WriteError):
        return error
    path = os.fspath(path)
    reason, mend = error.strerror or str(error), _mend(path, error.errno)
    return WriteError(
        f"{path} cannot be written: {reason}. {mend[0].upper()}{mend[1:]}, and give the same command "
        "again, a training with --resume; what was written before is whole."
    )


def _system_error(error: Optional[BaseException]) -> Optional[OSError]:
    """The OSError behind an exception: torch.save tells of a full disk by a RuntimeError raised while handling it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


@contextlib.contextmanager
def naming_errors(path: PathLike, *, of_writing_alone: bool = False) -> Iterator[None]:
    """Turn what goes wrong in the block, which writes to `path`, into a `WriteError`.

    Args:
        path: a file or folder.
        of_writing_alone: leave errors as they are which may come of reading; for blocks that read, too.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = _system_error(error)
        if cause is None or (of_writing_alone and not is_write_failure(cause)):
            raise
        raise write_error(path, cause) from error


def make_folder(path: PathLike) -> None:
    """Make a folder, with those above it, if it is not there.

    Raises:
        WriteError: it cannot be made.
    """
    with naming_errors(path):
        os.makedirs(path, exist_ok=True)


def sync_folder(path: PathLike) -> None:
    """Bring a folder's list of names to the disk, where the file system can: without it a rename may be lost."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def replacing(path: PathLike, mode: str = "wb", encoding: Optional[str] = None) -> Iterator[IO[Any]]:
    """Hand out a file that takes the place of `path` when the block ends without an exception.

    Args:
        path: of a file in a folder that is there.
        mode, encoding: of ``open``; "wb" or "w". A text file is UTF-8 unless said otherwise.

    Raises:
        WriteError: it cannot be written; what was under `path` is as before.
    """
    path = os.fspath(path)
    beside = f"{path}.partial"
    with naming_errors(path):
        file = open(beside, mode, encoding=encoding or (None if "b" in mode else "utf-8"))  # noqa: SIM115
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError, ValueError):  # it flushes once more, into the same full disk
                file.close()
            with contextlib.suppress(OSError):
                os.remove(beside)
            raise
    sync_folder(os.path.dirname(path) or ".")


def write_text(path: PathLike, text: str) -> None:
    """Replace `path` by a file that holds `text`, in UTF-8; see `replacing`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: PathLike, content: bytes) -> None:
    """Replace `path` by a file that holds `content`; see `replacing`."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def new_folder(path: PathLike) -> Iterator[str]:
    """Hand out an empty folder that takes the place of `path` when the block ends without an exception.

    Raises:
        WriteError: it cannot be written; what was under `path` is as before.
    """
    path = os.fspath(path)
    partial, old = f"{path}.partial", f"{path}.old"
    with naming_errors(path):
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        os.makedirs(partial)
        try:
            yield partial
            if os.path.isdir(path):
                os.rename(path, old)  # a folder cannot be renamed onto one that holds files
            os.rename(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if os.path.lexists(old) and not os.path.lexists(path):
                with contextlib.suppress(OSError):
                    os.rename(old, path)
            raise
    sync_folder(os.path.dirname(path) or ".")
    shutil.rmtree(old, ignore_errors=True)
