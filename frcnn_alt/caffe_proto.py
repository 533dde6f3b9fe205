"""The few messages of Caffe's files that weights and mean images are stored in, without Caffe.

The classes are built at run time by the protobuf library from the field numbers of Caffe's published ``caffe.proto``;
whatever else a file holds is skipped. Three generations of layers can be in a ``.caffemodel``: today's ``layer``
(field 100), the V1 ``layers`` (field 2), and V0 layers, which sit inside V1 ones.

The numbers of a blob are declared as ``repeated bytes`` where Caffe says ``repeated float [packed = true]``: on the
wire both are the same, and bytes become an array at once where the library would hand over a hundred million Python
floats one by one. Floats that are not packed, and doubles, are read a second time with Caffe's own declaration.
"""

import math
from typing import Any, Dict, List, Tuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

__all__ = ["BlobProto", "DecodeError", "NetParameter", "blob_to_array"]

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "frcnn_alt.caffe"

# Message -> (field, number, type, repeated); a type that is not of protobuf is a message of this table.
_MESSAGES: Dict[str, List[Tuple[str, int, Any, bool]]] = {
    "BlobShape": [("dim", 1, _Field.TYPE_INT64, True)],
    "BlobProto": [
        ("num", 1, _Field.TYPE_INT32, False),
        ("channels", 2, _Field.TYPE_INT32, False),
        ("height", 3, _Field.TYPE_INT32, False),
        ("width", 4, _Field.TYPE_INT32, False),
        ("data", 5, _Field.TYPE_BYTES, True),
        ("shape", 7, "BlobShape", False),
    ],
    "BlobProtoOfFloats": [("data", 5, _Field.TYPE_FLOAT, True), ("double_data", 8, _Field.TYPE_DOUBLE, True)],
    "LayerParameter": [
        ("name", 1, _Field.TYPE_STRING, False),
        ("blobs", 7, "BlobProto", True),
    ],
    "V0LayerParameter": [
        ("name", 1, _Field.TYPE_STRING, False),
        ("blobs", 50, "BlobProto", True),
    ],
    "V1LayerParameter": [
        ("layer", 1, "V0LayerParameter", False),
        ("name", 4, _Field.TYPE_STRING, False),
        ("blobs", 6, "BlobProto", True),
    ],
    "NetParameter": [
        ("name", 1, _Field.TYPE_STRING, False),
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ],
}


def _message_classes() -> Dict[str, Any]:
    # proto2, as Caffe's: it tells a field that is 0 from one that is absent, and keeps unknown fields.
    file = descriptor_pb2.FileDescriptorProto(name="frcnn_alt/caffe.proto", package=_PACKAGE, syntax="proto2")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            field = message.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()  # one of our own: an installed Caffe has messages of the same names
    pool.AddSerializedFile(file.SerializeToString())
    descriptors = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    if hasattr(message_factory, "GetMessageClass"):
        return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in descriptors.items()}
    factory = message_factory.MessageFactory(pool)  # protobuf before 4.22
    return {name: factory.GetPrototype(descriptor) for name, descriptor in descriptors.items()}


_CLASSES = _message_classes()
_BlobProtoOfFloats = _CLASSES["BlobProtoOfFloats"]
NetParameter = _CLASSES["NetParameter"]
BlobProto = _CLASSES["BlobProto"]


def _shape(blob: Any) -> Tuple[int, ...]:
    """Shape that a blob declares: the old four sizes where there are any, as Caffe itself decides."""
    old = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in old):
        return tuple(getattr(blob, name) for name in old)
    return tuple(blob.shape.dim)


def _numbers(blob: Any, count: int) -> np.ndarray:
    chunks = list(blob.data)  # more than one only if the writer split the packed floats
    if chunks and sum(map(len, chunks)) == 4 * count:
        return np.frombuffer(chunks[0] if len(chunks) == 1 else b"".join(chunks), dtype="<f4")
    as_floats = _BlobProtoOfFloats.FromString(blob.SerializeToString())  # unknown fields go along
    return np.array(as_floats.data or as_floats.double_data, dtype=np.float32)


def blob_to_array(blob: Any) -> np.ndarray:
    """Return the numbers of a ``BlobProto``.

    Args:
        blob: in the form with ``shape``, or the old one with ``num``, ``channels``, ``height`` and ``width``, in which
            a matrix is (1, 1, rows, columns) and a vector (1, 1, 1, n); nothing is squeezed here.

    Returns:
        float32 array of the declared shape, read-only where the bytes of the file are used as they are.

    Raises:
        ValueError: there are not as many numbers as the shape says, or they cannot be read.
    """
    shape = _shape(blob)
    if any(side < 0 for side in shape):
        raise ValueError(f"it has a negative size, {shape}")
    count = math.prod(shape)
    try:
        numbers = _numbers(blob, count)
    except DecodeError as error:
        raise ValueError(f"its numbers cannot be read: {error}") from error
    if len(numbers) != count:
        raise ValueError(f"its shape {shape} asks for {count} numbers, and it holds {len(numbers)}")
    return numbers.astype(np.float32, copy=False).reshape(shape)
