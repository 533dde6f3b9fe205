"""tools/convert_weights.py: what it writes, what it tells, and what it refuses."""

from pathlib import Path

from frcnn_alt.checkpointing import SafeCheckpointer, read_checkpoint
from frcnn_alt.engine.command_line import run_command_line

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from oracles.caffe_wire import V1, net
from random_detector import caffe_weights, detector_config, picture, randomise
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ["--config-file", str(ROOT / "configs" / "zf_4step.yaml")]
NARROW = ["MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.0625", "MODEL.ROI_BOX_HEAD.FC_DIM", "48", "MODEL.DEVICE", "cpu"]


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/convert_weights.py")


@pytest.fixture
def convert(tool, capsys):
    """A function that runs the tool and returns (exit status, what it printed)."""

    def run(*words):
        status = run_command_line(tool.run, tool.parse_arguments([*CONFIG, *map(str, words), *NARROW]))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.fixture(scope="module")
def detector():
    """A random detector and its layers in the released form."""
    torch.manual_seed(0)
    model = build_model(detector_config("zf_4step.yaml", "paper")).eval()
    randomise(model, picture(120, 160, seed=0), seed=0)
    return model, caffe_weights(model, "rpn_conv1")


def _imagenet(layers):
    kept = {name: arrays for name, arrays in layers.items() if name.startswith(("conv", "fc"))}
    return {**kept, "fc8": [np.ones((10, 48)), np.ones(10)]}


def test_imagenet_weights(tmp_path, convert, detector):
    model, layers = detector
    (tmp_path / "zf.caffemodel").write_bytes(net(_imagenet(layers), form=V1, shape="old"))
    output = tmp_path / "folder" / "zf.pth"
    status, printed = convert(tmp_path / "zf.caffemodel", "-o", output)
    assert status == 0
    checkpoint = read_checkpoint(str(output))
    expected = model.state_dict()
    assert sorted(checkpoint["model"]) == sorted(
        name for name in expected if name.startswith(("backbone", "roi_heads.box_head"))
    )
    assert all(torch.equal(tensor, expected[name]) for name, tensor in checkpoint["model"].items())
    assert checkpoint["frcnn_alt"]["pixel_mean"] == [102.9801, 115.9465, 122.7717]
    lines = printed.splitlines()
    (row,) = [line for line in lines if line.startswith("conv2 ")]
    assert row.split(maxsplit=2) == ["conv2", "backbone.conv2", "16 x 6 x 5 x 5"]
    (not_found,) = [line for line in lines if line.startswith("not found")]
    assert not_found.split(": ")[1].split(", ") == [
        *(f"proposal_generator.rpn_head.{name}" for name in ("conv", "objectness_logits", "anchor_deltas")),
        *(f"roi_heads.box_predictor.{name}" for name in ("cls_score", "bbox_pred")),
    ]
    assert "not used: fc8" in lines
    assert "trained on BGR from 0 to 255, mean 102.9801 115.9465 122.7717, deviation 1 1 1" in lines
    assert "TO MEND" not in printed and "for programs without" not in printed  # it fits any ZF-net


def test_pair_for_a_config_of_detectron2s_components(tmp_path, convert, detector):
    """What is written is a plain file: detectron2's own DefaultPredictor loads it, without knowing of Caffe."""
    _, layers = detector
    convolutions = {name: arrays for name, arrays in layers.items() if name.startswith("conv")}
    names = {"rpn_conv1": "conv_proposal1", "rpn_cls_score": "proposal_cls_score"}
    rpn = {names.get(name, "proposal_bbox_pred"): layers[name] for name in (*names, "rpn_bbox_pred")}
    heads = {name: layers[name] for name in ("fc6", "fc7", "cls_score", "bbox_pred")}
    (tmp_path / "rpn.caffemodel").write_bytes(net({**convolutions, **rpn}))
    (tmp_path / "detector.caffemodel").write_bytes(net({**convolutions, **heads}))
    overlay = ["--overlay", ROOT / "configs" / "presets" / "modern.yaml"]
    files, output = [tmp_path / "rpn.caffemodel", tmp_path / "detector.caffemodel"], tmp_path / "whole.pth"
    status, printed = convert(*overlay, *files, "-o", output)
    assert status == 0 and "not found, so they start new: nothing" in printed
    assert "cls_score of detector.caffemodel" in printed and "conv1 of rpn.caffemodel" in printed

    cfg = detector_config("zf_4step.yaml", "modern")
    direct = build_model(cfg).eval()
    SafeCheckpointer(direct).load(",".join(map(str, files)))
    cfg.MODEL.WEIGHTS = str(output)
    image = picture(200, 260, seed=1)
    predictor = DefaultPredictor(cfg)
    expected = direct.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in predictor.model.state_dict().items())
    assert len(predictor(image)["instances"]) > 0
    (line,) = [line for line in printed.splitlines() if line.startswith("for programs without frcnn_alt")]
    assert "MODEL.RPN.HEAD_NAME StandardRPNHead" in line and "BBOX_REG_WEIGHTS (10.0, 10.0, 5.0, 5.0)" in line


def test_a_file_converted_for_one_config_gives_the_originals_detections_under_another(tmp_path, convert, detector):
    """Loaded under it, or converted once more; here from detectron2's head, anchors and deviations to the paper's."""
    (tmp_path / "zf.caffemodel").write_bytes(net(detector[1]))
    overlay = ["--overlay", ROOT / "configs" / "presets" / "modern.yaml"]
    assert convert(*overlay, tmp_path / "zf.caffemodel", "-o", tmp_path / "modern.pth")[0] == 0
    assert convert(tmp_path / "modern.pth", "-o", tmp_path / "again.pth")[0] == 0
    assert convert(tmp_path / "zf.caffemodel", "-o", tmp_path / "paper.pth")[0] == 0
    states = {}
    for name in ("zf.caffemodel", "modern.pth", "again.pth", "paper.pth"):
        model = build_model(detector_config("zf_4step.yaml", "paper"))
        SafeCheckpointer(model).load(str(tmp_path / name))
        states[name] = model.state_dict()
    written = read_checkpoint(str(tmp_path / "again.pth"))
    assert written["frcnn_alt"]["fitted_to"]["MODEL.RPN.HEAD_NAME"] == "SoftmaxRPNHead"
    expected = states.pop("zf.caffemodel")
    assert written["model"].keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(written["model"][name], tensor)
        assert all(torch.equal(state[name], tensor) for state in states.values()), name


def test_the_keys_to_set_are_told(tmp_path, convert, detector):
    (tmp_path / "zf.caffemodel").write_bytes(net(_imagenet(detector[1])))
    status, printed = convert(tmp_path / "zf.caffemodel", "-o", tmp_path / "zf.pth", "INPUT.FORMAT", "RGB")
    assert status == 0  # the file is right; the config is not yet
    (line,) = [line for line in printed.splitlines() if line.startswith("TO MEND")]
    assert line.endswith(
        'Set: INPUT.FORMAT BGR MODEL.PIXEL_MEAN "[102.9801,115.9465,122.7717]" MODEL.PIXEL_STD "[1,1,1]"'
    )


def test_an_existing_file_stays_unless_asked(tmp_path, convert, detector):
    (tmp_path / "zf.caffemodel").write_bytes(net(_imagenet(detector[1])))
    (tmp_path / "zf.pth").write_bytes(b"precious")
    status, printed = convert(tmp_path / "zf.caffemodel", "-o", tmp_path / "zf.pth")
    assert status == 2 and "--overwrite" in printed and (tmp_path / "zf.pth").read_bytes() == b"precious"
    status, _ = convert(tmp_path / "zf.caffemodel", "-o", tmp_path / "zf.pth", "--overwrite")
    assert status == 0 and "backbone.conv1.weight" in read_checkpoint(str(tmp_path / "zf.pth"))["model"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["own.pth", "-o", "new.pth"], "own.pth is neither Caffe's nor torchvision's vgg16"),
        (
            ["good.caffemodel", "nowhere.caffemodel", "-o", "new.pth"],
            "nowhere.caffemodel: there is no such file",
        ),
        (["broken.caffemodel", "-o", "new.pth"], "broken.caffemodel"),
        (["good.caffemodel", "-o", "new.caffemodel"], "ends in .pth"),
        (["good.caffemodel", "good.caffemodel", "-o", "new.pth"], "no pair"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(tmp_path, monkeypatch, convert, detector, words, message):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"backbone.conv1.bias": torch.ones(6)}}, "own.pth")
    Path("broken.caffemodel").write_bytes(b"\x07")
    Path("good.caffemodel").write_bytes(net(_imagenet(detector[1])))
    before = sorted(path.name for path in tmp_path.iterdir())
    status, printed = convert(*words)
    assert status == 2 and message in printed and printed.count("error:") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_layers_in_common_there_are_none(tmp_path, convert):
    (tmp_path / "vgg.caffemodel").write_bytes(net({"conv1_1": [np.ones((4, 3, 3, 3)), np.ones(4)]}))
    status, printed = convert(tmp_path / "vgg.caffemodel", "-o", tmp_path / "zf.pth")
    assert status == 2 and "no layer in common" in printed
