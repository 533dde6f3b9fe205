"""The errors that are people's mistakes, or of what they gave, and not this program's: their message is all there is to
say.
"""

from typing import Tuple, Type

from ..checkpointing import CheckpointError
from ..data import DatasetError
from ..proposals import ProposalSetError
from ..safe_write import WriteError
from .defaults import ConfigError

__all__ = ["USERS_MISTAKES"]

USERS_MISTAKES: Tuple[Type[Exception], ...] = (
    ConfigError,
    DatasetError,
    CheckpointError,
    ProposalSetError,
    WriteError,
)
