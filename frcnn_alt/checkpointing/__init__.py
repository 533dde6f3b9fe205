"""Weight files in and out: safe reading, atomic writing, hand-over between steps by component."""

from .checkpointer import SafeCheckpointer
from .components import (
    NEW,
    InitialWeights,
    hash_tensors,
    load_initial_weights,
    match_initial_weights,
    select_components,
)
from .read import CheckpointError, file_sha256, read_checkpoint, write_checkpoint

__all__ = [
    "NEW",
    "CheckpointError",
    "InitialWeights",
    "SafeCheckpointer",
    "file_sha256",
    "hash_tensors",
    "load_initial_weights",
    "match_initial_weights",
    "read_checkpoint",
    "select_components",
    "write_checkpoint",
]
