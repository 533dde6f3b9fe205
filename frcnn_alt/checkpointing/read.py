"""Reading weight files without trusting them, and writing them so that a crash leaves the old or the new one.

Read are checkpoints of detectron2 and of this package, Caffe's models and torchvision's VGG-16. Checkpoints load with
``weights_only=True``; ``.pkl`` files (detectron2's model zoo form) go through an unpickler that admits nothing but
numpy arrays and plain containers, because a pickle can run code.
"""

import hashlib
import os
import pickle
from typing import Any, Dict, List, Mapping

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

from ..safe_pickle import load_arrays
from ..safe_write import replacing
from .caffe_model import read_caffe_layers
from .caffe_names import name_caffe_layers
from .caffe_pair import join_pair
from .errors import CheckpointError
from .torchvision_vgg import is_torchvision_vgg, name_torchvision_layers

__all__ = ["file_sha256", "is_remote", "read_checkpoint", "weight_files", "write_checkpoint"]

_CAFFE = (".caffemodel", ".caffemodel.h5")


def _read_pkl(path: str) -> Any:
    with open(path, "rb") as file:
        data = load_arrays(file)
    blobs = data.get("blobs", data) if isinstance(data, dict) else None
    if not isinstance(blobs, dict) or "model" in data:
        return data
    names = [name for name in blobs if isinstance(name, str)]  # what no text names is no parameter
    blobs = {name: blobs[name] for name in names if not name.endswith("_momentum")}
    if any(name.endswith("_w") for name in blobs):  # Caffe2's names, as in the ImageNet files of the model zoo
        return {"model": blobs, "__author__": "Caffe2", "matching_heuristics": True}
    return blobs


def weight_files(path: str) -> List[str]:
    """Return the files that a value of MODEL.WEIGHTS names: one, or two with a comma between."""
    return [path] if os.path.isfile(path) or "," not in path else [part.strip() for part in path.split(",")]


def is_remote(path: str) -> bool:
    """Whether a file has to be fetched: detectron2's model zoo ("detectron2://"), "https://" and so on."""
    return "://" in path


def missing_files(path: str) -> List[str]:
    """Return those of the files that a value of MODEL.WEIGHTS names which are not there; remote ones may be."""
    return [name for name in weight_files(path) if not is_remote(name) and not os.path.isfile(name)]


def _local_file(path: str) -> str:
    """Fetch a remote file, once: detectron2 keeps it in its cache."""
    if not is_remote(path):
        return path
    try:
        return PathManager.get_local_path(path)
    except Exception as error:  # of whatever the handler of its scheme uses
        raise CheckpointError(
            f"{path} cannot be fetched ({type(error).__name__}: {error}): get the file in some other way and name it "
            "in MODEL.WEIGHTS."
        ) from error


def _read_file(path: str) -> Any:
    if path.endswith(".pkl"):
        return _read_pkl(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files in torch's format of before 1.6 cannot be memory-mapped
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_caffe(files: List[str]) -> Dict[str, Any]:
    read = [name_caffe_layers(read_caffe_layers(file), file) for file in files]
    return (join_pair(read) if len(read) > 1 else read[0]).to_checkpoint()


def read_checkpoint(path: str) -> Dict[str, Any]:
    """Read a weight file.

    Args:
        path: ``.pth`` (a checkpoint of detectron2 or of this package, or a bare state dict, torchvision's of VGG-16
            included), ``.pkl`` (detectron2's model zoo form, or Caffe2's) or ``.caffemodel``; or the MATLAB release's
            two files, "rpn.caffemodel,fast_rcnn.caffemodel". It may have to be fetched ("detectron2://...").

    Returns:
        dict: ``"model"`` maps parameter names to CPU tensors (memory-mapped where the format allows); whatever else
        the file holds stands beside it under its own key. What Caffe or torchvision wrote is in the form of `foreign`,
        with a record under ``"frcnn_alt"``; names that detectron2 has to guess are marked by "matching_heuristics".
        `fit_to_model` makes either a model's.

    Raises:
        CheckpointError: no such file, not a checkpoint, or one that would run code.
    """
    files = [_local_file(file) for file in weight_files(path)]
    for file in files:
        if not os.path.isfile(file):
            raise CheckpointError(
                f"Weights not found: {file}. Set MODEL.WEIGHTS to an existing file, or to '' for none."
            )
    if all(file.endswith(_CAFFE) for file in files):
        return _read_caffe(files)
    if len(files) > 1:
        raise CheckpointError(f"{path}: several files can be read together only if they are .caffemodel.")
    try:
        data = _read_file(files[0])
    except Exception as error:  # a damaged file can raise nearly anything
        if isinstance(error, pickle.UnpicklingError) and not path.endswith(".pkl"):  # torch's advice is not for here
            error = "it is none, or holds more than tensors and plain containers, which could run code"
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}.") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a checkpoint: it holds a {type(data).__name__}, not a dictionary.")
    if "model" not in data:
        data = {"model": data}
    if not isinstance(data["model"], Mapping):
        raise CheckpointError(f"{path} is not a checkpoint: its model is a {type(data['model']).__name__}.")
    if not isinstance(data.get("frcnn_alt", {}), dict):
        raise CheckpointError(f"{path} is not a checkpoint: 'frcnn_alt' in it is no dictionary.")
    try:
        model = {name: _as_tensor(value) for name, value in data["model"].items() if _is_parameter(name, value)}
    except (TypeError, ValueError) as error:  # of torch.from_numpy: an array of texts, say
        raise CheckpointError(f"{path} is not a checkpoint: {error}.") from None
    if not model:
        raise CheckpointError(f"{path} is not a checkpoint: it holds no tensors.")
    if is_torchvision_vgg(model):
        return name_torchvision_layers(model, path).to_checkpoint()
    return {**data, "model": model}


def _is_parameter(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, (np.ndarray, torch.Tensor))


def _as_tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))


def write_checkpoint(data: Dict[str, Any], path: str) -> None:
    """Write `data` (tensors, plain containers and numbers) with torch.save beside `path`, then rename it into place.

    Raises:
        WriteError: it cannot be written; what was under `path` is as before.
    """
    with replacing(path) as file:
        torch.save(data, file)


def file_sha256(path: str) -> str:
    """Return the hex sha256 of a file's bytes; of a pair (see `weight_files`), of one file's after the other's."""
    digest = hashlib.sha256()
    for name in map(_local_file, weight_files(path)):
        with open(name, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
