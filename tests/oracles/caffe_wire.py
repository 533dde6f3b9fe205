"""A writer of ``.caffemodel`` files byte by byte, from the wire format of protocol buffers and Caffe's field numbers.

Rule: a message is a row of fields, each a tag, ``number << 3 | wire type``, and a value. Wire type 0 is a varint (seven
bits a byte, least significant first, the high bit set on all but the last), 2 a length and as many bytes (strings,
messages, packed numbers), 5 four bytes, 1 eight bytes, little-endian. Names of layers as in SPEC 1.1 and 1.2.
"""

import struct

import numpy as np

# Field numbers of the three generations of layers: the layer in the net, its name, its blobs.
TODAY = {"layer": 100, "name": 1, "blobs": 7}
V1 = {"layer": 2, "name": 4, "blobs": 6}
V0 = {"layer": 2, "wrapped": 1, "name": 1, "blobs": 50}


def varint(number):
    """An integer of 0 or more, or a negative one in the 64 bits of its two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def integer(field, number):
    return varint(field << 3 | 0) + varint(number)


def delimited(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(array, *, shape="dim", packed=True, double=False, chunks=1):
    """A BlobProto.

    Args:
        shape: "dim" for a BlobShape; "unpacked_dim" for one whose numbers are not packed; "old" for num, channels,
            height and width, filled with leading ones; "none" for nothing at all.
        packed: the numbers as one field, or a tag before each.
        double: double_data (field 8) in place of data (field 5).
        chunks: over how many packed fields the numbers are spread.
    """
    array = np.asarray(array)
    out = b""
    if shape == "old":
        sides = [1] * (4 - array.ndim) + list(array.shape)
        out += b"".join(integer(field, side) for field, side in enumerate(sides, start=1))
    elif shape == "dim":
        out += delimited(7, delimited(1, b"".join(varint(side) for side in array.shape)))
    elif shape == "unpacked_dim":
        out += delimited(7, b"".join(integer(1, side) for side in array.shape))
    field, code, fixed = (8, "<d", 1) if double else (5, "<f", 5)
    numbers = [struct.pack(code, float(number)) for number in array.reshape(-1)]
    if not packed:
        return out + b"".join(varint(field << 3 | fixed) + number for number in numbers)
    size = -(-len(numbers) // chunks) or 1
    pieces = [numbers[start : start + size] for start in range(0, max(len(numbers), 1), size)]
    return out + b"".join(delimited(field, b"".join(piece)) for piece in pieces)


def layer(name, arrays, *, form=TODAY, **blob_arguments):
    """A layer of a net, with fields that a reader has to skip (type, bottom and a parameter message) among its own."""
    blobs = b"".join(delimited(form["blobs"], blob(array, **blob_arguments)) for array in arrays)
    if "wrapped" in form:
        inner = delimited(form["name"], name) + delimited(2, "conv") + integer(10, 64) + blobs
        return delimited(form["layer"], delimited(form["wrapped"], inner))
    if form is V1:
        content = delimited(2, "data") + delimited(form["name"], name) + integer(5, 4) + blobs
        return delimited(form["layer"], content)
    skipped = delimited(2, "Convolution") + delimited(3, "data") + delimited(106, integer(1, 64))
    return delimited(form["layer"], delimited(form["name"], name) + skipped + blobs)


def net(layers, *, form=TODAY, name="net", **blob_arguments):
    """The bytes of a ``.caffemodel``.

    Args:
        layers: layer name -> its arrays; an empty list is a layer without weights (a ReLU).
    """
    content = [layer(layer_name, arrays, form=form, **blob_arguments) for layer_name, arrays in layers.items()]
    return delimited(1, name) + b"".join(content)
