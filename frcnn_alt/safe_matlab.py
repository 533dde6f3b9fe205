"""Looking through a MATLAB file before SciPy reads it.

Beside config and compat, because proposals and mean images come as such files. SciPy's reader makes room for whatever
sizes a file declares, and damaged files can end the process instead of raising an error. Files of MATLAB 5 to 7.2 are
therefore looked through here: of the variables that are going to be read every part lies within the one around it and
is of a kind that belongs there, no cell array has more cells than there are, and what is compressed unpacks to a size
that such files have. They may hold numbers, texts and cell arrays of these; other variables are not read.
"""

import math
import os
import struct
import zlib
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

__all__ = ["checked_variables"]

_COMPRESSED, _MATRIX = 15, 14  # kinds of elements
_INT8, _INT32, _UINT32, _UTF8 = 1, 5, 6, 16
_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)
_TEXTS = (1, 2, 4, 16, 17, 18)
_CELL, _CHAR, _NUMERIC, _OPAQUE = 1, 4, range(6, 16), 17  # classes of matrices
_COMPLEX = 0x800  # flag
_HEADER = 128  # bytes
_DEEPEST = 20
_UNPACKED, _RATIO = 1 << 26, 200  # a variable may unpack to so many bytes in any case, and to so many times its size


class _Element(NamedTuple):
    kind: int
    content: memoryview
    end: int  # where the next one begins


class _Header(NamedTuple):
    matrix_class: int
    is_complex: bool
    count: int  # of numbers, letters or cells
    name: str
    end: int


def _element(data: memoryview, place: int, order: str, kinds: Optional[Sequence[int]] = None) -> _Element:
    if place + 8 > len(data):
        raise ValueError("it is cut short")
    kind, length = struct.unpack_from(f"{order}II", data, place)
    begin, end = place + 8, place + 8 + -(-length // 8) * 8
    if kind >> 16:  # a short one, in the tag itself
        kind, length, begin, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
    if kind == _COMPRESSED:
        end = begin + length
    if length > len(data) - begin or (begin == place + 4 and length > 4):
        raise ValueError("one of its parts is longer than what it is in")
    if kind == _MATRIX and length % 8:  # SciPy would look for the next variable right behind it, and find another
        raise ValueError("one of its arrays does not end at a multiple of 8 bytes")
    if kinds is not None and kind not in kinds:
        raise ValueError(f"one of its parts is of kind {kind}, where {', '.join(map(str, kinds))} are possible")
    return _Element(kind, data[begin : begin + length], min(end, len(data)))


def _class_of(data: memoryview, order: str) -> int:
    flags = _element(data, 0, order, (_UINT32,))
    if len(flags.content) != 8:
        raise ValueError("one of its arrays has no class")
    return struct.unpack_from(f"{order}I", flags.content)[0] & 0xFF


def _header(data: memoryview, order: str) -> _Header:
    flags = _element(data, 0, order, (_UINT32,))
    if len(flags.content) != 8:
        raise ValueError("one of its arrays has no class")
    bits = struct.unpack_from(f"{order}I", flags.content)[0]
    sides = _element(data, flags.end, order, (_INT32,))
    if len(sides.content) % 4:
        raise ValueError("the shape of one of its arrays is cut short")
    shape = struct.unpack(f"{order}{len(sides.content) // 4}i", sides.content)
    if any(side < 0 for side in shape) or not 2 <= len(shape) <= 32:
        raise ValueError("one of its arrays has an impossible shape")
    name = _element(data, sides.end, order, (_INT8, _UTF8))
    text = bytes(name.content).decode("latin1")
    return _Header(bits & 0xFF, bool(bits & _COMPLEX), math.prod(shape), text, name.end)


def _check_matrix(data: memoryview, order: str, depth: int = 0) -> None:
    """SciPy reads parts one after another: they have to fill what they are in."""
    header = _header(data, order)
    place = header.end
    if header.matrix_class in _NUMERIC:
        for _ in range(1 + header.is_complex):
            place = _element(data, place, order, _NUMBERS).end
    elif header.matrix_class == _CHAR:
        letters = _element(data, place, order, _TEXTS)
        if header.count > len(letters.content):
            raise ValueError("one of its texts has more letters than bytes")
        place = letters.end
    elif header.matrix_class == _CELL and depth < _DEEPEST:
        if header.count > len(data):
            raise ValueError("one of its cell arrays has more cells than bytes")
        for _ in range(header.count):
            cell = _element(data, place, order, (_MATRIX,))
            if len(cell.content):  # else MATLAB's empty cell
                _check_matrix(cell.content, order, depth + 1)
            place = cell.end
    else:
        raise ValueError("it holds something else than numbers, texts and cell arrays of these")
    if place != len(data):
        raise ValueError("one of its arrays is longer than what it holds")


def _unpack(data: memoryview, order: str) -> _Element:
    limit = max(_UNPACKED, _RATIO * len(data))
    try:
        unpacked = zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"one of its variables cannot be unpacked: {error}") from None
    if len(unpacked) > limit:
        raise ValueError(f"one of its variables unpacks to more than {limit:,} bytes")
    return _element(memoryview(unpacked), 0, order, (_MATRIX,))


def _version(data: memoryview) -> Tuple[int, str]:
    """Major version of the format, as SciPy finds it, and byte order; 0 for MATLAB 4, 2 for MATLAB 7.3."""
    if len(data) < _HEADER:
        raise ValueError("it is no MATLAB file")
    if 0 in data[:4]:
        return 0, "<"
    return data[124 + (data[126] == ord("I"))], "<" if bytes(data[126:128]) == b"IM" else ">"


def checked_variables(path: Union[str, "os.PathLike[str]"], wanted: Optional[Sequence[str]] = None) -> List[str]:
    """Return the names of the variables of a MATLAB file that SciPy can read safely.

    Args:
        path: the file.
        wanted: names of variables, all that may be there; None: every variable of numbers.

    Raises:
        ValueError: it is none, or of MATLAB 4, or one of these variables is damaged or holds something else than
            numbers, texts and cell arrays of these.
        NotImplementedError: it is a file of MATLAB 7.3.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        data = memoryview(file.read())
    version, order = _version(data)
    if version == 2:
        raise NotImplementedError("it is a MATLAB 7.3 (HDF5) file")
    if version != 1:
        raise ValueError("it is not of MATLAB 5 to 7.2; write it again in MATLAB with '-v7'")
    names = []
    place = _HEADER
    while place < len(data):
        element = _element(data, place, order, (_MATRIX, _COMPRESSED))
        place = element.end
        if element.kind == _COMPRESSED:
            element = _unpack(element.content, order)
        if not len(element.content):
            raise ValueError("it holds a variable without a name")
        if _class_of(element.content, order) == _OPAQUE:  # a string, a table ... of today's MATLAB: it has no shape
            continue
        header = _header(element.content, order)
        if header.matrix_class in _NUMERIC if wanted is None else header.name in wanted:
            _check_matrix(element.content, order)
            names.append(header.name)
    return names
