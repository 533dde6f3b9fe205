"""The checkpointer in front of foreign files: what is loaded, what is said, and own files as before."""

import logging

from frcnn_alt.checkpointing import CheckpointError, SafeCheckpointer

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from oracles.caffe_wire import V1, net
from random_detector import caffe_weights, detector_config


@pytest.fixture
def messages(caplog):
    """The texts that fvcore's checkpointer logs."""
    with caplog.at_level(logging.INFO, "fvcore.common.checkpoint"):
        yield lambda: "\n".join(caplog.messages)


def _imagenet(model):
    """What the ImageNet files hold of a detector, and the classifier on top."""
    layers = caffe_weights(model, "rpn_conv1")
    kept = {name: arrays for name, arrays in layers.items() if name.startswith(("conv", "fc"))}
    return {**kept, "fc8_1000": [np.ones((1000, 48)), np.ones(1000)]}


def test_imagenet_weights_and_what_is_said_of_the_rest(tmp_path, messages):
    torch.manual_seed(0)
    cfg = detector_config("vgg16_4step.yaml", "paper")
    source, model = build_model(cfg), build_model(cfg)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    (tmp_path / "vgg.caffemodel").write_bytes(net(_imagenet(source), form=V1, shape="old"))
    SafeCheckpointer(model).load(str(tmp_path / "vgg.caffemodel"))
    expected = source.state_dict()
    for name, tensor in model.state_dict().items():
        from_file = name.startswith(("backbone", "roi_heads.box_head"))
        assert torch.equal(tensor, expected[name] if from_file else before[name]), name
    assert "not used are the layers fc8_1000" in messages()
    assert "roi_heads.box_predictor.cls_score" in messages() and "rpn_head.conv" in messages()  # not found
    assert "box_head" not in messages()


def test_a_layer_of_another_shape_is_an_error_not_a_warning(tmp_path):
    cfg = detector_config("zf_4step.yaml", "paper")
    layers = _imagenet(build_model(cfg))
    layers["conv2"] = [np.ones((16, 6, 3, 3)), np.ones(16)]
    (tmp_path / "zf.caffemodel").write_bytes(net(layers))
    with pytest.raises(CheckpointError, match=r"zf.caffemodel.*conv2.*\(16, 6, 3, 3\).*\(16, 6, 5, 5\)"):
        SafeCheckpointer(build_model(cfg)).load(str(tmp_path / "zf.caffemodel"))


@pytest.mark.parametrize("has_record", [True, False])
def test_a_layer_of_another_shape_of_a_pth(tmp_path, has_record, messages):
    """Of what was converted or pre-trained here it is an error; else detectron2's warning, as people are used to."""
    cfg = detector_config("zf_4step.yaml", "paper")
    torch.manual_seed(0)
    model = build_model(cfg)
    state = {"backbone.conv2.weight": torch.ones(16, 6, 3, 3), "backbone.conv1.bias": torch.ones(6)}
    torch.save({"model": state, **({"frcnn_alt": {"input_format": "BGR"}} if has_record else {})}, tmp_path / "zf.pth")
    if has_record:
        with pytest.raises(
            CheckpointError, match=r"conv2.weight has shape \(16, 6, 3, 3\) in .*zf.pth.*\(16, 6, 5, 5\)"
        ):
            SafeCheckpointer(model).load(str(tmp_path / "zf.pth"))
    else:
        SafeCheckpointer(model).load(str(tmp_path / "zf.pth"))
        assert "conv2.weight" in messages() and (model.backbone.conv1.bias == 1).all()


def test_a_file_with_a_record_may_hold_other_names(tmp_path):
    cfg = detector_config("zf_4step.yaml", "paper")
    torch.save({"model": {"something.else": torch.ones(1)}, "frcnn_alt": {}}, tmp_path / "zf.pth")
    SafeCheckpointer(build_model(cfg)).load(str(tmp_path / "zf.pth"))


def test_own_checkpoints_are_saved_and_resumed_as_before(tmp_path):
    torch.manual_seed(0)
    cfg = detector_config("zf_4step.yaml", "paper")
    model = build_model(cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    SafeCheckpointer(model, str(tmp_path), optimizer=optimizer).save("model_0", iteration=3)
    other = build_model(cfg)
    resumed = SafeCheckpointer(other, str(tmp_path), optimizer=torch.optim.SGD(other.parameters(), lr=0.1))
    rest = resumed.resume_or_load("", resume=True)
    assert rest["iteration"] == 3 and "model" not in rest
    assert resumed.checkpointables["optimizer"].param_groups[0]["lr"] == 0.5
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def test_no_weights_are_no_weights():
    assert SafeCheckpointer(torch.nn.Linear(1, 1)).load("") == {}
