"""Reading a ``.caffemodel`` into arrays, layer by layer, without Caffe."""

from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from ..caffe_proto import DecodeError, NetParameter, blob_to_array
from .errors import CheckpointError

__all__ = ["read_caffe_layers"]


def _layers(net: Any) -> Iterator[Tuple[str, Any]]:
    """Give (name, blobs) of all layers, whichever generation of Caffe wrote them."""
    for layer in net.layer:
        yield layer.name, layer.blobs
    for layer in net.layers:
        if layer.HasField("layer"):  # a V0 layer, wrapped
            yield layer.layer.name, layer.layer.blobs
        else:
            yield layer.name, layer.blobs


def _parse(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if content.startswith(b"\x89HDF"):
        raise CheckpointError(
            f"{path} is a Caffe snapshot in HDF5, which cannot be read; let Caffe write it as BINARYPROTO "
            "(snapshot_format)."
        )
    try:
        return NetParameter.FromString(content)
    except DecodeError:
        raise CheckpointError(
            f"{path} cannot be read as a Caffe model: it is cut short, or something else, such as a web page that was "
            f"saved in its place. It has {len(content):,} bytes; compare with the source."
        ) from None


def read_caffe_layers(path: str) -> Dict[str, List[np.ndarray]]:
    """Read the layers that have weights.

    Args:
        path: a ``.caffemodel``, with layers of today's form, of the old V1 form (VGG-16's) or of V0.

    Returns:
        dict: layer name -> its float32 arrays, in the file's order (weights, then biases), shaped as stored: in the old
        form a matrix is (1, 1, rows, columns) and a vector (1, 1, 1, n).

    Raises:
        CheckpointError: not a Caffe model, no weights in it, a blob that contradicts its shape, or two layers of one
            name with different weights.
    """
    layers: Dict[str, List[np.ndarray]] = {}
    for name, blobs in _layers(_parse(path)):
        if not isinstance(name, str):  # protobuf hands over bytes that are not UTF-8
            raise CheckpointError(f"{path} is damaged: the name of one of its layers is no text.")
        arrays = []
        for number, blob in enumerate(blobs):
            try:
                arrays.append(blob_to_array(blob))
            except ValueError as error:
                raise CheckpointError(f"{path}: blob {number} of layer {name} is broken: {error}.") from None
        if not arrays:
            continue
        if name in layers and not _equal(layers[name], arrays):
            raise CheckpointError(f"{path}: two layers are called {name} and have different weights.")
        layers[name] = arrays
    if not layers:
        raise CheckpointError(f"{path} is not a Caffe model with weights: no layer of it holds any.")
    return layers


def _equal(one: List[np.ndarray], other: List[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other))
