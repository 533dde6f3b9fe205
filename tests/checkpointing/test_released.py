"""What a converted file remembers of its original, and what is refused because it does not."""

from frcnn_alt.checkpointing import CheckpointError, fit_to_model, read_checkpoint, write_checkpoint

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from oracles.caffe_wire import net
from random_detector import caffe_weights, detector_config

DELTAS = "roi_heads.box_predictor.bbox_pred.bias"
LAST_LAYERS = ("rpn_cls_score", "rpn_bbox_pred", "bbox_pred")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(detector_config("zf_4step.yaml", "paper"))


@pytest.fixture(scope="module")
def layers(model):
    return caffe_weights(model, "rpn_conv1")


@pytest.fixture
def convert(tmp_path, model, layers):
    """A function that writes some layers as Caffe does, fits them to `model` and returns the .pth as it is read."""

    def run(*names):
        (tmp_path / "zf.caffemodel").write_bytes(net({name: layers[name] for name in names or layers}))
        write_checkpoint(fit_to_model(read_checkpoint(str(tmp_path / "zf.caffemodel")), model), f"{tmp_path}/zf.pth")
        return read_checkpoint(f"{tmp_path}/zf.pth")

    return run


def test_the_last_layers_are_remembered_as_they_were_released(convert, layers):
    remembered = convert()["frcnn_alt"]["released"]
    for layer, name in zip(LAST_LAYERS[:2], ("objectness_logits", "anchor_deltas")):
        for kind, expected in zip(("weight", "bias"), layers[layer]):
            found = remembered[f"proposal_generator.rpn_head.{name}.{kind}"]
            np.testing.assert_array_equal(found, expected.astype(np.float32))
    np.testing.assert_array_equal(remembered[DELTAS], layers["bbox_pred"][1][4:].astype(np.float32))
    assert not any("conv" in name or "fc" in name for name in remembered)  # a file is not twice as large for it


def test_of_components_that_the_model_lacks_nothing_is_remembered(tmp_path, convert):
    convert()
    cfg = detector_config("zf_4step.yaml", "paper")
    cfg.MODEL.META_ARCHITECTURE = "FasterRCNNProposalNetwork"
    fitted = fit_to_model(read_checkpoint(f"{tmp_path}/zf.caffemodel"), build_model(cfg))
    assert {name.split(".")[0] for name in fitted["frcnn_alt"]["released"]} == {"proposal_generator"}


def test_last_layers_that_were_changed_afterwards_are_refused(convert, model):
    changed = convert()
    changed["model"][DELTAS] = changed["model"][DELTAS] + 1
    with pytest.raises(CheckpointError, match="zf.caffemodel.*box_predictor.bbox_pred.*changed.*convert the original"):
        fit_to_model(changed, model)
    del changed["frcnn_alt"]
    assert torch.equal(fit_to_model(changed, model)["model"][DELTAS], changed["model"][DELTAS])


def test_other_layers_may_be_changed(convert, model):
    changed = convert()
    changed["model"]["backbone.conv1.bias"] = changed["model"]["backbone.conv1.bias"] + 1
    fitted = fit_to_model(changed, model)["model"]
    assert torch.equal(fitted["backbone.conv1.bias"], changed["model"]["backbone.conv1.bias"])


@pytest.mark.parametrize("layer", [None, *LAST_LAYERS])
def test_a_file_that_does_not_tell_what_it_was_fitted_to_is_refused(layer, convert, model):
    """Earlier versions wrote such ones: whatever config loads them, their boxes may be another's."""
    names = ("conv1", *((layer,) if layer else ("fc6", "fc7")))
    earlier = convert(*names)
    for key in ("form", "released", "fitted_hash"):
        del earlier["frcnn_alt"][key]
    if layer is None:  # ImageNet's layers are the same under every config
        assert fit_to_model(earlier, model)["model"] is earlier["model"]
        return
    with pytest.raises(CheckpointError, match="zf.caffemodel does not tell for which config.*tools/convert_weights.py"):
        fit_to_model(earlier, model)
