"""The unpickler makes arrays and plain containers of any protocol, and refuses everything else."""

import contextlib
import io
import os
import pickle
import tracemalloc
from collections import OrderedDict

from frcnn_alt.safe_pickle import ArrayUnpickler, load_arrays

import numpy as np
import pytest

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class RunsCode:
    def __reduce__(self):
        return os.system, ("exit 1",)


def load(data, unpickler=ArrayUnpickler):
    return unpickler(io.BytesIO(data), encoding="latin1").load()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_containers_come_back(protocol):
    data = OrderedDict(
        full=np.arange(6, dtype=np.float32).reshape(2, 3), empty=np.zeros((0, 4)), number=np.float64(0.5), names=["a"]
    )
    again = load(pickle.dumps(data, protocol))
    assert list(again) == list(data) and again["names"] == ["a"] and again["number"] == 0.5
    for name in ("full", "empty"):
        assert again[name].dtype == data[name].dtype
        np.testing.assert_array_equal(again[name], data[name])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_does_not_run(protocol):
    with pytest.raises(pickle.UnpicklingError, match="it asks for .*system; only numpy arrays"):
        load(pickle.dumps({"model": RunsCode()}, protocol))


def test_a_subclass_admits_what_it_names():
    class Fractions(ArrayUnpickler):
        also_admitted = (("fractions", "Fraction"),)

    from fractions import Fraction

    data = pickle.dumps(Fraction(1, 3))
    assert load(data, Fractions) == Fraction(1, 3)
    with pytest.raises(pickle.UnpicklingError, match="fractions.Fraction"):
        load(data)


def _global(module, name):
    return f"c{module}\n{name}\n".encode()


def _int(value):
    return b"J" + value.to_bytes(4, "little", signed=True)


EMPTY_ARRAY = _global("numpy._core.multiarray", "_reconstruct") + _global("numpy", "ndarray") + b"(K\x00tC\x01b\x87R"
A_TYPE = _global("numpy", "dtype") + b"(X\x02\x00\x00\x00f8I00\nI01\ntR"


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02" + _global("numpy", "ndarray") + b"(" + _int(2**30) + _int(2**30) + b"t\x85R.",  # of any shape
        b"\x80\x02" + EMPTY_ARRAY.replace(b"(K\x00t", b"(" + _int(2**31 - 1) + b"t") + b".",
        b"\x80\x02" + _global("__builtin__", "bytes") + _int(2**31 - 1) + b"\x85R.",
        b"\x80\x02" + _global("_codecs", "encode") + b"X\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a value numbered two thousand million
        b"]p999999999999\n.",
        b"\x8e" + (2**60).to_bytes(8, "little") + b"x.",
        # A type whose bytes are pointers: version, order, subarray, names, fields, size, alignment, flags.
        b"\x80\x02" + A_TYPE + b"(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}K\x08K\x01K?tb.",
        b"\x80\x02" + _global("numpy", "dtype") + b"X\x01\x00\x00\x00V\x85R.",
        # 2 to the 40 elements of no size
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85" + A_TYPE + b"I00\nC\x00tb.",
    ],
)
def test_what_asks_for_memory_or_for_pointers_is_refused(data):
    tracemalloc.start()
    try:
        with pytest.raises((pickle.UnpicklingError, ValueError, MemoryError)):
            load_arrays(io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_what_a_pickle_names_cannot_be_changed_by_it():
    """BUILD sets attributes of whatever stands there, also of a function or a class."""
    state = b"N}X\x04\x00\x00\x00markK\x01s\x86b."
    for name in [("collections", "OrderedDict"), ("numpy._core.multiarray", "_reconstruct"), ("numpy", "dtype")]:
        with contextlib.suppress(Exception):
            load_arrays(io.BytesIO(b"\x80\x02" + _global(*name) + state))
    from frcnn_alt import safe_pickle

    assert not any(hasattr(one, "mark") for one in [OrderedDict, *safe_pickle._STANDING_IN.values()])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_kind(protocol):
    arrays = {
        "big end first": np.arange(3, dtype=">f8"),
        "transposed": np.arange(6, dtype=np.int16).reshape(2, 3).T,
        "texts": np.array(["a", "bcd"]),
        "flags": np.array([True, False]),
        "of arrays": np.array([np.zeros(2), np.zeros((0, 4)), None], dtype=object)[:2],
        "no axes": np.array(3.5),
    }
    again = load_arrays(io.BytesIO(pickle.dumps(arrays, protocol)))
    for name, array in pickle.loads(pickle.dumps(arrays, protocol)).items():  # numpy may turn bytes round
        assert again[name].shape == array.shape and again[name].dtype == array.dtype, name
        if array.dtype != object:
            np.testing.assert_array_equal(again[name], array)


def test_an_array_of_objects_has_as_many_as_it_says():
    """numpy takes what lies behind a list that is too short for objects, which ends the process."""
    ragged = np.array([[1.0], [2.0, 3.0]], object)
    assert load(pickle.dumps(ragged)).tolist() == [[1.0], [2.0, 3.0]]
    numbers = _global("numpy", "dtype") + b"(X\x02\x00\x00\x00O8I00\nI01\ntR"
    state = b"(K\x01(K\x03t" + numbers + b"I00\n(lG?\xf0\x00\x00\x00\x00\x00\x00at"
    with pytest.raises(pickle.UnpicklingError, match="that it does not fill"):
        load(EMPTY_ARRAY + state + b"b.")
