"""detectron2's writers of metrics and logs, with an address when the disk is full: their own errors name no file.

Metrics that cannot be written end the training, as a checkpoint that cannot be written does. A log that cannot be
written is told of once, and the training goes on without it.
"""

import errno
import logging
import os
import sys
from typing import Callable, List, Optional

from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter

from ..safe_write import naming_errors, write_error

__all__ = ["LogFile", "NamingWriter", "name_log_errors", "naming_writers"]


class NamingWriter(EventWriter):
    """A writer of metrics whose errors name its file.

    Args:
        writer: detectron2's.
        path: the file that it writes to; its folder has to be there.
    """

    def __init__(self, writer: EventWriter, path: str):
        self.writer = writer
        self.path = path

    def write(self) -> None:
        """As the writer's; raises WriteError when it cannot be written."""
        with naming_errors(self.path):
            if not os.path.isdir(os.path.dirname(self.path)):
                # One would make it anew, as if the files of the run were still there; the other would write to nowhere.
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self.writer.write()

    def close(self) -> None:
        """As the writer's; raises WriteError when what was held back cannot be written."""
        with naming_errors(self.path):
            self.writer.close()


def naming_writers(folder: str, build: Callable[[], List[EventWriter]]) -> List[EventWriter]:
    """Build writers, with those that write into `folder` as `NamingWriter`.

    Raises:
        WriteError: a file cannot be opened.
    """
    with naming_errors(os.path.join(folder, "metrics.json")):
        writers = build()
    paths = {
        JSONWriter: os.path.join(folder, "metrics.json"),
        TensorboardXWriter: os.path.join(folder, "events.out.tfevents"),
    }
    return [NamingWriter(writer, paths[type(writer)]) if type(writer) in paths else writer for writer in writers]


def _say_once(handler: logging.Handler, path: str) -> None:
    """Tell on stderr that a log cannot be written, and silence its handler: the log is no result."""
    error = sys.exc_info()[1]
    handler.addFilter(lambda record: False)
    if isinstance(error, OSError):
        print(f"warning: {write_error(path, error)} Nothing more is logged there.", file=sys.stderr, flush=True)
    else:
        logging.Handler.handleError(handler, logging.makeLogRecord({}))


def name_log_errors(handler: logging.StreamHandler, path: Optional[str] = None) -> None:
    """Have a handler that detectron2 made tell once, in one line, that its file cannot be written.

    Args:
        handler: of a file.
        path: the file; by default the name of the handler's stream.
    """
    where = path or getattr(handler.stream, "name", "the log")
    handler.handleError = lambda record: _say_once(handler, where)


class LogFile(logging.FileHandler):
    """logging's handler, which tells once that the file cannot be written, instead of a traceback for every line.

    Raises:
        WriteError: the file cannot be opened.
    """

    def __init__(self, path: str):
        with naming_errors(path):
            super().__init__(path, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        _say_once(self, self.baseFilename)

    def close(self) -> None:
        """As the handler's; what was held back is lost if the disk is full."""
        try:
            super().close()
        except OSError:
            _say_once(self, self.baseFilename)
