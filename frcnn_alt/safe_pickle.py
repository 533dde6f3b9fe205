"""Reading pickles that hold arrays, without running what a pickle could run.

Beside config and compat, because checkpoints and proposal files come as pickles. A pickle is a program: it calls what
it names, with what it likes. The few things that it may name here are stood in for by functions of this module, which
take the arguments that numpy itself writes and no others: numpy's own would allocate any size that they are told, or
take any bytes for pointers.
"""

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from functools import partial
from typing import IO, Any, Tuple

import numpy as np

__all__ = ["ArrayUnpickler", "load_arrays"]

_KINDS = "biufcSU"


class _DType:
    """What a pickle says of an array's type: a plain one, or "O" for an array of objects."""

    def __init__(self, name: Any, align: Any = False, copy: Any = True):
        self._dtype = np.dtype(str(name)) if isinstance(name, str) and len(name) < 16 else None
        if self._dtype is None or self._dtype.kind not in _KINDS + "O" or not self._dtype.itemsize:
            raise pickle.UnpicklingError("it holds an array that is not of numbers or texts")

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, itemsize, alignment, flags[, metadata])
        if not isinstance(state, tuple) or len(state) < 5 or any(one is not None for one in state[2:5]):
            raise pickle.UnpicklingError("it holds an array of records")
        if state[1] in ("<", ">"):
            self._dtype = self._dtype.newbyteorder(state[1])

    @staticmethod
    def of(value: Any, objects: bool = False) -> np.dtype:
        if not isinstance(value, _DType) or (value._dtype.kind == "O" and not objects):
            raise pickle.UnpicklingError("it holds an array of no type, or of objects")
        return value._dtype


class _Array(np.ndarray):
    """An array that a pickle makes empty and then fills."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("it holds an array in an unknown form")
        version, shape, dtype, is_fortran, content = state
        _check_shape(shape)
        dtype = _DType.of(dtype, objects=True)
        if dtype.kind == "O" and not (isinstance(content, list) and len(content) == math.prod(shape)):
            raise pickle.UnpicklingError("it holds an array of objects that it does not fill")  # numpy reads on behind
        super().__setstate__((version, shape, dtype, is_fortran, content))


def _check_shape(shape: Any) -> None:
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise pickle.UnpicklingError("it holds an array of an impossible shape")


class _ArrayClass:
    """Stands where a pickle names numpy.ndarray, which it only may hand on to `_reconstruct`."""

    def __init__(self, *arguments: Any):
        raise pickle.UnpicklingError("it makes an array in an unknown way")


def _reconstruct(array_class: Any, shape: Any, code: Any) -> _Array:
    if array_class is not _ArrayClass or shape != (0,):
        raise pickle.UnpicklingError("it makes an array in an unknown way")
    return _Array((0,), np.int8)


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> np.ndarray:
    _check_shape(shape)
    array = np.frombuffer(content, _DType.of(dtype))
    if order == "K" and axis_order is not None:
        return array.reshape(shape).transpose(axis_order)
    return array.reshape(shape, order=order)


def _scalar(dtype: Any, content: Any) -> Any:
    content = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(content, _DType.of(dtype), count=1)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes something else than bytes")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise pickle.UnpicklingError("it makes bytes in an unknown way")
    return b""


_STANDING_IN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,  # how protocols up to 2 write an empty array
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that makes nothing but numpy arrays and plain containers; anything else is a ``UnpicklingError``.

    Subclasses admit more by `also_admitted`, pairs of module and name.
    """

    also_admitted: Tuple[Tuple[str, str], ...] = ()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return _ArrayClass
        if (module, name) in _STANDING_IN:
            found = _STANDING_IN[module, name]
        elif (module, name) in self.also_admitted:
            found = super().find_class(module, name)
        else:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}; only numpy arrays and plain containers are read"
            )
        return partial(found)  # of its own each time: a pickle can set attributes of what it names


def load_arrays(file: IO[bytes], unpickler: type = ArrayUnpickler) -> Any:
    """Unpickle a file of arrays and plain containers; texts of Python 2 are taken for latin1.

    Args:
        file: opened for reading, at its beginning.
        unpickler: `ArrayUnpickler`, or a subclass that admits more.

    Raises:
        pickle.UnpicklingError: it asks for anything else, or for memory that it does not fill.
        Exception: of nearly any kind, where it is damaged.
    """
    content = io.BytesIO(file.read())
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content), start=1):
        # The C unpickler makes room for all names up to the largest.
        if opcode.name in ("PUT", "LONG_BINPUT") and argument > number + 256:
            raise pickle.UnpicklingError(f"it is damaged: value {number} is numbered {argument}")
    content.seek(0)
    return unpickler(content, encoding="latin1").load()
