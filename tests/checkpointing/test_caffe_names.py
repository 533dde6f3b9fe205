"""Layers of the released networks under this package's names: background last, nothing lost silently."""

from frcnn_alt.checkpointing import CheckpointError, read_checkpoint

import numpy as np
import pytest
import torch
from oracles.caffe_wire import V1, net

CLASSES, ANCHORS = 3, 2
RPN_NAMES = [
    ("rpn_conv1", "rpn_cls_score", "rpn_bbox_pred"),
    ("rpn_conv/3x3", "rpn_cls_score", "rpn_bbox_pred"),
    ("conv_proposal1", "proposal_cls_score", "proposal_bbox_pred"),
]


def _counted(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def detector_layers(rpn_names=RPN_NAMES[0], backbone=("conv1", "conv2")):
    """Weights that tell each number from each other; row r of fully connected layers begins with 10 r."""
    convolution, logits, deltas = rpn_names
    layers = {name: [_counted(4, 3, 2, 2), _counted(4)] for name in backbone}
    layers[convolution] = [_counted(5, 4, 3, 3), _counted(5)]
    layers[logits] = [_counted(2 * ANCHORS, 5, 1, 1), _counted(2 * ANCHORS)]
    layers[deltas] = [_counted(4 * ANCHORS, 5, 1, 1), _counted(4 * ANCHORS)]
    layers["fc6"] = [_counted(10, 16), _counted(10)]
    layers["fc7"] = [_counted(10, 10), _counted(10)]
    layers["cls_score"] = [_counted(CLASSES + 1, 10), _counted(CLASSES + 1)]
    layers["bbox_pred"] = [_counted(4 * (CLASSES + 1), 10), _counted(4 * (CLASSES + 1))]
    return layers


def _read(tmp_path, layers, **form):
    (tmp_path / "a.caffemodel").write_bytes(net(layers, **form))
    return read_checkpoint(str(tmp_path / "a.caffemodel"))


@pytest.mark.parametrize("rpn_names", RPN_NAMES)
@pytest.mark.parametrize("form", [{}, {"form": V1, "shape": "old"}], ids=["today", "V1"])
def test_names_and_rows_of_a_detector(tmp_path, rpn_names, form):
    checkpoint = _read(tmp_path, detector_layers(rpn_names, ("conv1_1", "conv5_3")), **form)
    model = checkpoint["model"]
    head, predictor = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    kept = {
        "backbone.conv1_1": (4, 3, 2, 2),
        "backbone.conv5_3": (4, 3, 2, 2),
        f"{head}.conv": (5, 4, 3, 3),
        f"{head}.objectness_logits": (4, 5, 1, 1),  # [bg | fg] blocks stay as they are
        f"{head}.anchor_deltas": (8, 5, 1, 1),
        "roi_heads.box_head.fc6": (10, 16),
        "roi_heads.box_head.fc7": (10, 10),
    }
    for name, shape in kept.items():
        assert torch.equal(model[f"{name}.weight"], torch.from_numpy(_counted(*shape)))
        assert torch.equal(model[f"{name}.bias"], torch.arange(float(shape[0])))
    assert model[f"{predictor}.cls_score.bias"].tolist() == [1, 2, 3, 0]  # the file's row 0 is the background
    assert model[f"{predictor}.cls_score.weight"][:, 0].tolist() == [10, 20, 30, 0]
    assert model[f"{predictor}.bbox_pred.bias"].tolist() == list(range(4, 16))
    assert model[f"{predictor}.bbox_pred.weight"][:, 0].tolist() == [10 * row for row in range(4, 16)]
    for component, rows in (("proposal_generator", 1), (predictor, CLASSES)):
        assert torch.equal(model[f"{component}.box2box_transform.mean"], torch.zeros(rows, 4))
        assert torch.equal(model[f"{component}.box2box_transform.std"], torch.ones(rows, 4))
    assert len(model) == 2 * len(kept) + 4 + 4
    record = checkpoint["frcnn_alt"]
    assert record["not_used"] == [] and record["layers"][f"{head}.conv.bias"] == rpn_names[0]
    assert record["input_format"] == "BGR" and record["pixel_std"] == [1.0, 1.0, 1.0]
    assert record["pixel_mean"] == [102.9801, 115.9465, 122.7717]


def test_classifier_of_imagenet_is_listed_as_not_used(tmp_path):
    layers = {"conv1": [_counted(4, 3, 7, 7), _counted(4)], "fc6": [_counted(6, 4), _counted(6)]}
    checkpoint = _read(tmp_path, {**layers, "fc8": [_counted(1000, 6), _counted(1000)]}, form=V1, shape="old")
    assert sorted(checkpoint["model"]) == [
        *("backbone.conv1.bias", "backbone.conv1.weight"),
        *("roi_heads.box_head.fc6.bias", "roi_heads.box_head.fc6.weight"),
    ]
    assert checkpoint["frcnn_alt"]["not_used"] == ["fc8"]


def test_one_class_and_one_output_keep_their_axes(tmp_path):
    """Leading ones of the old form go, and no others: a single row is still a matrix."""
    layers = {"fc6": [_counted(1, 5), _counted(1)], "conv1": [_counted(1, 1, 3, 3), _counted(1)]}
    model = _read(tmp_path, layers, shape="old")["model"]
    shapes = {name: tuple(tensor.shape) for name, tensor in model.items()}
    assert shapes["roi_heads.box_head.fc6.weight"] == (1, 5) and shapes["roi_heads.box_head.fc6.bias"] == (1,)
    assert shapes["backbone.conv1.weight"] == (1, 1, 3, 3) and shapes["backbone.conv1.bias"] == (1,)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"conv1": [_counted(4, 3, 2, 2)]}, "conv1 has 1 blob"),
        ({"conv1": [_counted(4, 12), _counted(4)]}, r"weight of layer conv1 has the shape \(4, 12\).*4 axes"),
        ({"fc6": [_counted(10, 4, 2, 2), _counted(10)]}, r"weight of layer fc6 has the shape \(10, 4, 2, 2\)"),
        ({"fc6": [_counted(10, 16), _counted(2, 5)]}, "bias of layer fc6"),
        ({"fc6": [_counted(10, 16), _counted(9)]}, "fc6 has 10 outputs, but 9 biases"),
        ({"bbox_pred": [_counted(12, 10), _counted(12)]}, "cls_score has 4 rows and bbox_pred 12"),
        ({"rpn_cls_score": [_counted(2, 5, 1, 1), _counted(2)]}, "rpn_cls_score has 2 channels and rpn_bbox_pred 8"),
        ({"conv_proposal1": [_counted(5, 4, 3, 3), _counted(5)]}, "rpn_conv1 and conv_proposal1 are both"),
        ({"fc7": [np.full((10, 10), np.nan), _counted(10)]}, "weight of layer fc7 holds numbers that are not finite"),
    ],
)
def test_a_layer_that_cannot_be_is_an_error(tmp_path, changed, message):
    with pytest.raises(CheckpointError, match=f"a.caffemodel.*{message}"):
        _read(tmp_path, {**detector_layers(), **changed})


def test_the_regressor_of_the_background_may_hold_anything(tmp_path):
    layers = detector_layers()
    layers["bbox_pred"][0][:4] = np.nan
    assert torch.isfinite(_read(tmp_path, layers)["model"]["roi_heads.box_predictor.bbox_pred.weight"]).all()


def test_another_network_is_refused_with_its_layers(tmp_path):
    layers = {name: [_counted(4, 3, 1, 1), _counted(4)] for name in ("conv1/7x7_s2", "inception_3a/1x1")}
    with pytest.raises(CheckpointError, match="conv1/7x7_s2, inception_3a/1x1"):
        _read(tmp_path, layers)
