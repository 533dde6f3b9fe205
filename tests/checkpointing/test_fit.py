"""From the released form to a model's: anchor order, kinds of RPN heads, and what cannot fit."""

import itertools

from frcnn_alt.checkpointing import CheckpointError, fit_to_model, names_from, read_checkpoint
from frcnn_alt.checkpointing.fit import released_anchor_positions
from frcnn_alt.engine.meta_model import build_meta_model
from frcnn_alt.modeling.anchor_generator import FasterRCNNAnchorGenerator

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from hypothesis import given
from hypothesis import strategies as st
from oracles.caffe_wire import net
from random_detector import caffe_weights, detector_config, picture, randomise

PAPER_SIZES, PAPER_RATIOS = [128, 256, 512], [0.5, 1.0, 2.0]
RPN_HEAD = "proposal_generator.rpn_head"


def _cell_anchors(cls, sizes, ratios):
    return next(iter(cls(sizes=[sizes], aspect_ratios=[ratios], strides=[16], offset=0.0).cell_anchors))


def test_order_of_the_two_generators():
    """Ratio outer, size inner is the file's own order; DefaultAnchorGenerator has size outer, ratio inner."""
    ours = _cell_anchors(FasterRCNNAnchorGenerator, PAPER_SIZES, PAPER_RATIOS)
    stock = _cell_anchors(DefaultAnchorGenerator, PAPER_SIZES, PAPER_RATIOS)
    assert released_anchor_positions(ours) == list(range(9))
    assert released_anchor_positions(stock) == [0, 3, 6, 1, 4, 7, 2, 5, 8]


sizes = st.lists(st.integers(2, 64).map(lambda n: 16 * n), min_size=1, max_size=4, unique=True)
ratios = st.lists(st.sampled_from([0.25, 1 / 3, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=4, unique=True)


@given(sizes, ratios)
def test_order_for_any_list_of_sizes_and_ratios(sizes, ratios):
    file_order = list(itertools.product(sorted(ratios), sorted(sizes)))
    ours = released_anchor_positions(_cell_anchors(FasterRCNNAnchorGenerator, sizes, ratios))
    assert ours == [file_order.index((ratio, size)) for ratio in ratios for size in sizes]
    stock = released_anchor_positions(_cell_anchors(DefaultAnchorGenerator, sizes, ratios))
    assert stock == [file_order.index((ratio, size)) for size in sizes for ratio in ratios]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """(path of a released ZF-like detector of 20 classes, its layers)."""
    model = build_model(detector_config("zf_4step.yaml", "pyfrcnn")).eval()
    torch.manual_seed(0)
    randomise(model, picture(120, 160, seed=0), seed=0)
    layers = caffe_weights(model, "rpn_conv1")
    path = tmp_path_factory.mktemp("released") / "zf.caffemodel"
    path.write_bytes(net({**layers, "data_bn": [np.ones(1), np.ones(1)]}))
    return str(path), layers


def _model(*changes, preset="pyfrcnn"):
    cfg = detector_config("zf_4step.yaml", preset)
    cfg.merge_from_list(list(changes))
    return build_model(cfg)


@pytest.mark.parametrize("stock_anchors", [True, False])
@pytest.mark.parametrize("head", ["StandardRPNHead", "SoftmaxRPNHead"])
def test_rpn_channels_one_by_one(released, stock_anchors, head):
    """Channel by channel: which anchor's numbers of the file stand where."""
    path, layers = released
    changes = ["MODEL.RPN.HEAD_NAME", head, "MODEL.RPN.BBOX_REG_WEIGHTS", (2.0, 3.0, 5.0, 7.0)]
    if stock_anchors:
        changes += ["MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator"]
    state = fit_to_model(read_checkpoint(path), _model(*changes))["model"]
    for kind, index in (("weight", 0), ("bias", 1)):
        logits, deltas = layers["rpn_cls_score"][index], layers["rpn_bbox_pred"][index]
        fitted_logits = state[f"{RPN_HEAD}.objectness_logits.{kind}"].double().numpy()
        fitted_deltas = state[f"{RPN_HEAD}.anchor_deltas.{kind}"].double().numpy()
        for size, ratio in itertools.product(range(3), range(3)):
            place = 3 * size + ratio if stock_anchors else 3 * ratio + size
            released_place = 3 * ratio + size
            background, foreground = logits[released_place], logits[9 + released_place]
            if head == "StandardRPNHead":
                np.testing.assert_allclose(fitted_logits[place], foreground - background, atol=1e-5)
            else:
                np.testing.assert_allclose(fitted_logits[place], background, rtol=1e-6)
                np.testing.assert_allclose(fitted_logits[9 + place], foreground, rtol=1e-6)
            for coordinate, factor in enumerate((2.0, 3.0, 5.0, 7.0)):
                expected = factor * deltas[4 * released_place + coordinate]
                np.testing.assert_allclose(fitted_deltas[4 * place + coordinate], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        (["MODEL.ROI_HEADS.NUM_CLASSES", 3], "20 classes.*of this config 3.*NUM_CLASSES"),
        (["MODEL.ANCHOR_GENERATOR.SIZES", [[64, 128, 256, 512]]], "9 anchors.*12.*ANCHOR_GENERATOR"),
        (["MODEL.BACKBONE.WIDTH_MULTIPLIER", 0.125], r"layer conv1 .*\(6, 3, 7, 7\).*needs \(12, 3, 7, 7\)"),
        (["MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7], r"layer fc6 .*\(48, 576\).*needs \(48, 784\)"),
        (
            ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True, "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed"],
            "CLS_AGNOSTIC_BBOX_REG False",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_error(released, changes, message):
    with pytest.raises(CheckpointError, match=f"zf.caffemodel.*{message}"):
        fit_to_model(read_checkpoint(released[0]), _model(*changes))


def test_only_what_will_be_loaded_is_checked(released):
    """A detector of 20 classes is a fine start for the backbone and fc6, fc7 of one of 3."""
    model = _model("MODEL.ROI_HEADS.NUM_CLASSES", 3)
    init = {"backbone": "weights", "roi_heads": "weights", "roi_heads.box_predictor": "new"}
    names = names_from("weights", model.state_dict(), init)
    fitted = fit_to_model(read_checkpoint(released[0]), model, names)["model"]
    assert set(fitted) == set(names) and "roi_heads.box_head.fc7.bias" in fitted
    assert not any("box_predictor" in name or "proposal_generator" in name for name in fitted)


def test_layers_of_the_file_that_the_model_lacks_are_listed(released):
    model = _model("MODEL.META_ARCHITECTURE", "FasterRCNNProposalNetwork")
    fitted = fit_to_model(read_checkpoint(released[0]), model)
    assert fitted["frcnn_alt"]["not_used"] == ["data_bn", "fc6", "fc7", "cls_score", "bbox_pred"]
    assert not any(name.startswith("roi_heads") for name in fitted["model"])


def test_the_checkpoint_itself_is_not_changed(released):
    checkpoint = read_checkpoint(released[0])
    before = {name: tensor.clone() for name, tensor in checkpoint["model"].items()}
    fit_to_model(checkpoint, _model("MODEL.RPN.HEAD_NAME", "StandardRPNHead"))
    assert checkpoint["model"].keys() == before.keys() and checkpoint["frcnn_alt"]["not_used"] == ["data_bn"]
    assert all(torch.equal(checkpoint["model"][name], tensor) for name, tensor in before.items())


def test_a_model_without_storage_has_the_same_shapes(released):
    """The plan of a run asks such a model, whose anchors have no numbers."""
    cfg = detector_config("zf_4step.yaml", "paper")
    checkpoint = read_checkpoint(released[0])
    fitted = fit_to_model(checkpoint, build_meta_model(cfg))["model"]
    assert {name: tensor.shape for name, tensor in fitted.items()} == {
        name: tensor.shape for name, tensor in fit_to_model(checkpoint, build_model(cfg))["model"].items()
    }


# What a converted file may have been fitted to, each with its preset.
FITTED_TO = {
    "paper": ["paper"],
    "pyfrcnn": ["pyfrcnn"],  # without statistics of the RPN
    "one logit": ["paper", "MODEL.RPN.HEAD_NAME", "StandardRPNHead"],
    "size outside": ["paper", "MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator"],
    "ratios in another order": ["paper", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[2.0, 0.5, 1.0]]],
    "weighted anchors": ["pyfrcnn", "MODEL.RPN.BBOX_REG_WEIGHTS", (2.0, 3.0, 5.0, 7.0)],
    "fixed deviations": [
        *["paper", "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed"],
        *["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)],
    ],
    "all of it": ["modern"],
}


@pytest.fixture(scope="module")
def models():
    return {name: _model(*changes, preset=preset) for name, (preset, *changes) in FITTED_TO.items()}


@pytest.mark.parametrize("first", FITTED_TO)
@pytest.mark.parametrize("second", FITTED_TO)
def test_what_was_fitted_to_one_model_is_fitted_to_another_as_the_original_is(first, second, released, models):
    """Else a converted file would be scaled and permuted twice, or have the anchors of one config under another."""
    original = read_checkpoint(released[0])
    converted = fit_to_model(original, models[first])
    again, directly = (fit_to_model(checkpoint, models[second]) for checkpoint in (converted, original))
    assert again["frcnn_alt"]["input_format"] == "BGR" and again["model"].keys() == directly["model"].keys()
    assert all(torch.equal(again["model"][name], tensor) for name, tensor in directly["model"].items())
    assert again["frcnn_alt"]["fitted_hash"] == directly["frcnn_alt"]["fitted_hash"]


def test_the_models_expect_different_tensors(released, models):
    """So that the test above tells them apart."""
    original = read_checkpoint(released[0])
    hashes = {name: fit_to_model(original, model)["frcnn_alt"]["fitted_hash"] for name, model in models.items()}
    assert len(set(hashes.values())) == len(FITTED_TO)


def test_own_files_pass_untouched():
    model = _model("MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator")
    state = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    state["something.else"] = torch.ones(1)
    for checkpoint in ({"model": state}, {"model": state, "frcnn_alt": {"input_format": "BGR"}, "iteration": 7}):
        fitted = fit_to_model(checkpoint, model)
        assert fitted == checkpoint and fitted["model"] is state
