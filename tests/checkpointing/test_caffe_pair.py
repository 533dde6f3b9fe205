"""The MATLAB release's two files become one detector, or an error says why they cannot."""

from frcnn_alt.checkpointing import CheckpointError, file_sha256, read_checkpoint, weight_files

import numpy as np
import pytest
import torch
from oracles.caffe_wire import net
from test_caffe_names import RPN_NAMES, detector_layers

HEADS = ("fc6", "fc7", "cls_score", "bbox_pred")


def _pair(folder, change_proposals=(), change_detector=()):
    """Write the two files of a shared detector, with layers replaced or, where None, left out."""
    layers = detector_layers(RPN_NAMES[2])
    files = []
    for name, left_out, changes in (
        ("rpn.caffemodel", HEADS, change_proposals),
        ("fast_rcnn.caffemodel", RPN_NAMES[2], change_detector),
    ):
        kept = {key: arrays for key, arrays in layers.items() if key not in left_out}
        kept.update(dict(changes))
        files.append(folder / name)
        files[-1].write_bytes(net({key: arrays for key, arrays in kept.items() if arrays is not None}))
    return [str(file) for file in files]


def test_both_orders_give_the_detector_of_a_single_file(tmp_path):
    files = _pair(tmp_path)
    (tmp_path / "whole.caffemodel").write_bytes(net(detector_layers(RPN_NAMES[2])))
    whole = read_checkpoint(str(tmp_path / "whole.caffemodel"))["model"]
    for pair in (files, files[::-1]):
        joined = read_checkpoint(",".join(pair))
        assert joined["model"].keys() == whole.keys()
        assert all(torch.equal(joined["model"][name], tensor) for name, tensor in whole.items())
    layers = joined["frcnn_alt"]["layers"]
    assert layers["backbone.conv1.weight"] == "conv1 of rpn.caffemodel"
    assert layers["roi_heads.box_predictor.cls_score.bias"] == "cls_score of fast_rcnn.caffemodel"


def test_layers_that_the_proposal_network_carries_along_are_not_used(tmp_path):
    """py-faster-rcnn's RPN nets hold copies of fc6 and fc7; the detector's own are taken."""
    carried = [("fc6", [np.zeros((10, 16)), np.zeros(10)]), ("fc8", [np.zeros((2, 2)), np.zeros(2)])]
    joined = read_checkpoint(",".join(_pair(tmp_path, carried)))
    assert joined["model"]["roi_heads.box_head.fc6.weight"].any()
    assert joined["frcnn_alt"]["not_used"] == ["fc8 of rpn.caffemodel", "fc6 of rpn.caffemodel"]


@pytest.mark.parametrize("kind", [0, 1], ids=["weight", "bias"])
@pytest.mark.parametrize("changed", ["rpn.caffemodel", "fast_rcnn.caffemodel"])
def test_convolutions_that_differ_are_two_networks(tmp_path, changed, kind):
    """In a single number of their weights or of their biases."""
    arrays = [array.astype(np.float32) for array in detector_layers()["conv2"]]
    arrays[kind].flat[0] += np.float32(1e-6)
    assert not np.array_equal(arrays[kind], detector_layers()["conv2"][kind])
    other = [("conv2", arrays)]
    files = _pair(tmp_path, other if changed.startswith("rpn") else (), () if changed.startswith("rpn") else other)
    with pytest.raises(CheckpointError, match="rpn.caffemodel.*fast_rcnn.caffemodel.*conv2 differ.*two networks"):
        read_checkpoint(",".join(files))


def test_a_convolution_that_one_of_them_lacks(tmp_path):
    with pytest.raises(CheckpointError, match="conv2 differ"):
        read_checkpoint(",".join(_pair(tmp_path, [("conv2", None)])))


def test_two_files_that_are_no_pair(tmp_path):
    rpn, detector = _pair(tmp_path)
    (tmp_path / "whole.caffemodel").write_bytes(net(detector_layers()))
    for files in ([rpn, rpn], [detector, detector], [rpn, str(tmp_path / "whole.caffemodel")], [rpn, detector, rpn]):
        with pytest.raises(CheckpointError, match="no pair"):
            read_checkpoint(",".join(files))


def test_files_of_a_pair_are_looked_for_one_by_one(tmp_path):
    rpn, detector = _pair(tmp_path)
    with pytest.raises(CheckpointError, match="not found: .*missing.caffemodel"):
        read_checkpoint(f"{rpn},{tmp_path}/missing.caffemodel")
    torch.save({"x": torch.ones(1)}, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="only if they are .caffemodel"):
        read_checkpoint(f"{rpn},{tmp_path}/own.pth")


def test_what_counts_as_two_files(tmp_path):
    assert weight_files("a.caffemodel, b.caffemodel") == ["a.caffemodel", "b.caffemodel"]
    assert weight_files("a.pth") == ["a.pth"]
    (tmp_path / "a,b.pth").write_bytes(b"12")
    assert weight_files(f"{tmp_path}/a,b.pth") == [f"{tmp_path}/a,b.pth"]  # a name with a comma in it


def test_hash_of_a_pair_sees_both_files(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("both", b"12")):
        (tmp_path / name).write_bytes(content)
    assert file_sha256(f"{tmp_path}/a,{tmp_path}/b") == file_sha256(str(tmp_path / "both"))
