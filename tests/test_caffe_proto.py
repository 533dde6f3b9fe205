"""Caffe's messages, read from bytes that the tests' own writer made."""

from frcnn_alt.caffe_proto import BlobProto, DecodeError, NetParameter, blob_to_array

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.caffe_wire import blob, delimited, integer, net

any_blob = arrays_of.arrays(
    np.float32,
    arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    elements=st.floats(width=32),
)


def _read(content):
    return blob_to_array(BlobProto.FromString(content))


@given(any_blob, st.booleans(), st.booleans(), st.integers(1, 3), st.sampled_from(["dim", "unpacked_dim"]))
def test_numbers_and_shape_come_back_bit_by_bit(array, packed, double, chunks, shape):
    read = _read(blob(array, packed=packed, double=double, chunks=chunks, shape=shape))
    assert read.dtype == np.float32 and read.shape == array.shape
    np.testing.assert_array_equal(read, array)  # NaN at the same places


@given(any_blob, st.booleans(), st.integers(1, 3))
def test_old_form_has_four_axes(array, packed, chunks):
    read = _read(blob(array, shape="old", packed=packed, chunks=chunks))
    assert read.shape == (1,) * (4 - array.ndim) + array.shape
    np.testing.assert_array_equal(read.reshape(array.shape), array)


def test_mean_image_of_caffe():
    """What a .binaryproto is: one blob with num 1, channels, height and width."""
    mean = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    np.testing.assert_array_equal(_read(blob(mean, shape="old")), mean)


def test_a_scalar_has_no_axes():
    assert _read(blob(np.float32(3.5), shape="none")).shape == ()
    assert _read(blob(np.float32(3.5), shape="dim")) == np.float32(3.5)


@pytest.mark.parametrize(
    "content, message",
    [
        (delimited(7, delimited(1, b"\x05")) + delimited(5, b"\0" * 16), "5 numbers, and it holds 4"),
        (delimited(7, delimited(1, b"\x02")) + delimited(5, b"\0" * 7), "cannot be read"),
        (delimited(7, delimited(1, b"\x02")), "2 numbers, and it holds 0"),
        (integer(1, -1) + integer(2, 3), "negative"),
    ],
)
def test_blobs_that_contradict_themselves(content, message):
    with pytest.raises(ValueError, match=message):
        _read(content)


def test_unknown_fields_are_skipped():
    content = net({"conv1": [np.ones((1, 2))], "relu1": []}) + delimited(8, "state") + integer(77, 5)
    parsed = NetParameter.FromString(content)
    assert parsed.name == "net" and [layer.name for layer in parsed.layer] == ["conv1", "relu1"]
    assert [len(layer.blobs) for layer in parsed.layer] == [1, 0]


def test_bytes_cut_short_are_an_error():
    with pytest.raises(DecodeError):
        NetParameter.FromString(net({"conv1": [np.ones((4, 4))]})[:-3])
