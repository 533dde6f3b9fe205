"""Files of Caffe, and files that are none, through the reader of layers."""

from frcnn_alt.checkpointing import CheckpointError
from frcnn_alt.checkpointing.caffe_model import read_caffe_layers

import numpy as np
import pytest
from oracles.caffe_wire import TODAY, V0, V1, layer, net

LAYERS = {
    "conv1": [np.arange(24).reshape(2, 3, 2, 2), np.array([1.0, -2.0])],
    "relu1": [],
    "fc6": [np.arange(8).reshape(2, 4) / 7, np.array([0.5, 0.25])],
}


def _write(path, content):
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("form", [TODAY, V1, V0], ids=["today", "V1", "V0"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shape", ["dim", "old"])
def test_all_generations_of_layers(tmp_path, form, packed, shape):
    path = _write(tmp_path / "a.caffemodel", net(LAYERS, form=form, packed=packed, shape=shape))
    read = read_caffe_layers(path)
    assert list(read) == ["conv1", "fc6"]  # a layer without weights is none of interest
    for name, arrays in read.items():
        for array, expected in zip(arrays, LAYERS[name]):
            leading = (1,) * (4 - expected.ndim) if shape == "old" else ()
            assert array.shape == leading + expected.shape
            np.testing.assert_array_equal(array.reshape(expected.shape), expected.astype(np.float32))


def test_both_generations_in_one_file(tmp_path):
    content = net({"a": [np.ones(2)]}, form=TODAY) + net({"b": [np.zeros(3)]}, form=V1)
    assert sorted(read_caffe_layers(_write(tmp_path / "a.caffemodel", content))) == ["a", "b"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no layer"),
        (net({}), "no layer"),
        (net({"relu1": []}), "no layer"),
        (net(LAYERS)[:-1], "cut short"),
        (net(LAYERS)[:40], "cut short"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (layer("conv1", [np.ones((2, 2))], shape="none"), "blob 0 of layer conv1"),
        (layer("a", [np.ones(2)]) + layer("a", [np.zeros(2)]), "two layers are called a"),
    ],
)
def test_what_is_no_caffe_model_is_named(tmp_path, content, message):
    path = _write(tmp_path / "some.caffemodel", content)
    with pytest.raises(CheckpointError, match=f"some.caffemodel.*{message}|{message}.*some.caffemodel"):
        read_caffe_layers(path)


def test_every_truncation_is_noticed(tmp_path):
    """A download can stop anywhere: cut at each byte, a file is an error or, between two layers, lacks whole layers."""
    content = net(LAYERS)
    between_layers = {len(net(dict(list(LAYERS.items())[:count]))) for count in (1, 2)}
    for length in range(len(content)):
        path = _write(tmp_path / "a.caffemodel", content[:length])
        if length in between_layers:
            assert list(read_caffe_layers(path)) == ["conv1"]
        else:
            with pytest.raises(CheckpointError):
                read_caffe_layers(path)


def test_a_repeated_layer_with_the_same_weights_is_one(tmp_path):
    content = layer("a", [np.ones(2)]) * 2
    assert list(read_caffe_layers(_write(tmp_path / "a.caffemodel", content))) == ["a"]


def test_a_name_that_is_no_text_is_refused(tmp_path):
    content = net({"conv1": [np.ones(2)]}).replace(b"conv1", b"\xff\xfe\xfd\xfc\xfb")
    with pytest.raises(CheckpointError, match="a.caffemodel is damaged: the name of one of its layers is no text"):
        read_caffe_layers(_write(tmp_path / "a.caffemodel", content))
