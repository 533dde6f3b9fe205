"""The one error of this room."""

__all__ = ["CheckpointError"]


class CheckpointError(ValueError):
    """A weight file that is missing, unreadable or does not fit; the message names the file and what to do."""
