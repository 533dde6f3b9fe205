"""Weight files in and out: safe reading, foreign formats, atomic writing, hand-over between steps by component."""

from .checkpointer import SafeCheckpointer
from .classes import check_classes, select_classes
from .components import (
    NEW,
    InitialWeights,
    hash_tensors,
    load_initial_weights,
    match_initial_weights,
    names_from,
    select_components,
)
from .errors import CheckpointError
from .fit import fit_to_model
from .pixels import check_pixels, pixel_disagreement, pixels_of_config, pixels_of_model
from .read import file_sha256, is_remote, missing_files, read_checkpoint, weight_files, write_checkpoint
from .recorded import HASHES_FILE, checkpoint_to_resume, record_hash
from .same_class import first_difference, rows_of_classes
from .whole import load_whole_network, match_whole_network

__all__ = [
    "HASHES_FILE",
    "NEW",
    "CheckpointError",
    "InitialWeights",
    "SafeCheckpointer",
    "check_classes",
    "check_pixels",
    "checkpoint_to_resume",
    "file_sha256",
    "first_difference",
    "fit_to_model",
    "hash_tensors",
    "is_remote",
    "load_initial_weights",
    "load_whole_network",
    "match_initial_weights",
    "match_whole_network",
    "missing_files",
    "names_from",
    "pixel_disagreement",
    "pixels_of_config",
    "pixels_of_model",
    "read_checkpoint",
    "record_hash",
    "rows_of_classes",
    "select_classes",
    "select_components",
    "weight_files",
    "write_checkpoint",
]
