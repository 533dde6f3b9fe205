"""Reading weight files without trusting them, and writing them so that a crash leaves the old or the new one.

Checkpoints load with ``weights_only=True``; ``.pkl`` files (detectron2's model zoo form) go through an unpickler that
admits nothing but numpy arrays and plain containers, because a pickle can run code (DESIGN 4.7).
"""

import hashlib
import os
import pickle
from typing import Any, Dict

import numpy as np
import torch

__all__ = ["CheckpointError", "file_sha256", "read_checkpoint", "write_checkpoint"]

_ADMITTED_IN_PKL = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class CheckpointError(ValueError):
    """A weight file that is missing, unreadable or does not fit; the message names the file and what to do."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED_IN_PKL:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}; only numpy arrays and plain containers are read"
            )
        return super().find_class(module, name)


def _read_pkl(path: str) -> Any:
    with open(path, "rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()


def read_checkpoint(path: str) -> Dict[str, Any]:
    """Read a weight file.

    Args:
        path: ``.pth`` (a checkpoint of detectron2 or of this package, or a bare state dict) or ``.pkl``
            (detectron2's model zoo form, arrays under the model's own parameter names).

    Returns:
        dict: ``"model"`` maps parameter names to CPU tensors (memory-mapped where the format allows); whatever else
        the file holds stands beside it under its own key.

    Raises:
        CheckpointError: no such file, not a checkpoint, or one that would run code.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"Weights not found: {path}. Set MODEL.WEIGHTS to an existing file, or to '' for none.")
    try:
        if path.endswith(".pkl"):
            data = _read_pkl(path)
        else:
            try:
                data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # files in torch's format of before 1.6 cannot be memory-mapped
                data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and not path.endswith(".pkl"):  # torch's advice is not for here
            error = "it is none, or holds more than tensors and plain containers, which could run code"
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}.") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a checkpoint: it holds a {type(data).__name__}, not a dictionary.")
    if "model" not in data:
        data = {"model": data}
    model = {}
    for name, value in data["model"].items():
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(value))
        if isinstance(value, torch.Tensor):
            model[name] = value
    if not model:
        raise CheckpointError(f"{path} is not a checkpoint: it holds no tensors.")
    return {**data, "model": model}


def write_checkpoint(data: Dict[str, Any], path: str) -> None:
    """Write `data` (tensors, plain containers and numbers) with torch.save beside `path`, then rename it into place."""
    beside = f"{path}.partial"
    with open(beside, "wb") as file:
        torch.save(data, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def file_sha256(path: str) -> str:
    """Return the hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
    return digest.hexdigest()
