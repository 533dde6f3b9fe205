"""Weights and the pixels that they were trained on: a disagreement is refused, with the three keys to set."""

from frcnn_alt.checkpointing import (
    CheckpointError,
    SafeCheckpointer,
    check_pixels,
    pixel_disagreement,
    pixels_of_config,
    pixels_of_model,
)
from frcnn_alt.engine.meta_model import build_meta_model

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from random_detector import detector_config

CAFFE = {"input_format": "BGR", "pixel_mean": [102.9801, 115.9465, 122.7717], "pixel_std": [1.0, 1.0, 1.0]}
RGB = {"input_format": "RGB", "pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375]}


def test_the_sentence_has_all_three_keys_to_set():
    sentence = pixel_disagreement(RGB, CAFFE, "vgg16.pth")
    assert sentence.startswith("vgg16.pth") and sentence.count("vgg16.pth") == 1
    assert sentence.endswith(
        'Set: INPUT.FORMAT RGB MODEL.PIXEL_MEAN "[123.675,116.28,103.53]" MODEL.PIXEL_STD "[58.395,57.12,57.375]"'
    )
    assert "INPUT.FORMAT is BGR" in sentence and "102.98" in sentence


@pytest.mark.parametrize("name", list(RGB))
def test_one_difference_is_enough_and_named_alone(name):
    sentence = pixel_disagreement({**CAFFE, name: RGB[name]}, CAFFE, "w.pth")
    keys = {"input_format": "INPUT.FORMAT", "pixel_mean": "MODEL.PIXEL_MEAN", "pixel_std": "MODEL.PIXEL_STD"}
    assert [key for key in keys.values() if f"{key} is" in sentence] == [keys[name]]


def test_agreement_and_silence_say_nothing():
    assert pixel_disagreement(CAFFE, CAFFE, "w.pth") == ""
    assert pixel_disagreement({**CAFFE, "pixel_mean": [102.98, 115.947, 122.772]}, CAFFE, "w.pth") == ""  # fewer digits
    assert pixel_disagreement({}, CAFFE, "w.pth") == "" and pixel_disagreement(RGB, {}, "w.pth") == ""
    check_pixels(CAFFE, CAFFE, "w.pth")


@pytest.mark.parametrize("mean", [[102.9801, 115.9465], [102.9801, 115.9465, 122.78]])
def test_means_of_other_numbers_disagree(mean):
    assert pixel_disagreement({**CAFFE, "pixel_mean": mean}, CAFFE, "w.pth")


def test_config_and_model_tell_the_same():
    cfg = detector_config("zf_4step.yaml", "paper")
    assert pixels_of_config(cfg) == CAFFE
    told = pixels_of_model(build_model(cfg))
    assert told["input_format"] == "BGR" and told["pixel_mean"] == pytest.approx(CAFFE["pixel_mean"])
    assert pixel_disagreement(CAFFE, told, "w.pth") == ""  # single precision
    assert pixels_of_model(build_meta_model(cfg)) == {"input_format": "BGR"}
    assert pixels_of_model(torch.nn.Linear(1, 1)) == {}


def test_a_mean_image_stands_for_the_mean(tmp_path):
    np.save(tmp_path / "mean.npy", np.full((4, 4, 3), 120, dtype=np.float32))
    cfg = detector_config("zf_4step.yaml", "paper")
    cfg.MODEL.PIXEL_MEAN_IMAGE = str(tmp_path / "mean.npy")
    other = {**CAFFE, "pixel_mean": [1.0, 2.0, 3.0]}
    for pixels in (pixels_of_config(cfg), pixels_of_model(build_model(cfg))):
        assert "pixel_mean" not in pixels and pixel_disagreement(other, pixels, "w.pth") == ""
        assert pixel_disagreement(RGB, pixels, "w.pth")  # the order of the channels and the scale still count


def test_loading_into_any_model_is_refused(tmp_path):
    cfg = detector_config("zf_4step.yaml", "paper")
    model = build_model(cfg)
    path = str(tmp_path / "w.pth")
    torch.save({"model": model.state_dict(), "frcnn_alt": RGB}, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="w.pth.*INPUT.FORMAT RGB MODEL.PIXEL_MEAN .* MODEL.PIXEL_STD"):
        SafeCheckpointer(model).load(path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = "RGB", RGB["pixel_mean"], RGB["pixel_std"]
    SafeCheckpointer(build_model(cfg)).load(path)
