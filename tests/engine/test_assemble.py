"""The final network's files: what config.yaml names is beside it, and both load without anything of the run."""

import os
import shutil

from frcnn_alt import get_cfg
from frcnn_alt.engine import assemble
from frcnn_alt.engine.assemble import final_config

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from miniature import CONFIGS

STEPS = {"backbone": "step2", "proposal_generator": "step3", "roi_heads": "step4"}


def tiny_network_config(mean_image=""):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(CONFIGS, "Base-RCNN-ZF.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.06
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.PIXEL_MEAN_IMAGE = str(mean_image)
    cfg.INPUT.MIN_SIZE_TEST = 84
    return cfg


def assemble_one(cfg, folder):
    """A run whose three steps wrote the same file."""
    os.makedirs(folder)
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "step.pth")
    return assemble(cfg, STEPS, dict.fromkeys(STEPS.values(), str(folder / "step.pth")), str(folder))


def load(folder):
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    return cfg, DefaultPredictor(cfg)


@pytest.mark.parametrize("extension", ["npy", "binaryproto"])
def test_the_mean_image_is_copied_and_named(extension, tmp_path):
    from frcnn_alt.caffe_proto import BlobProto

    pixels = (np.random.RandomState(0).rand(6, 5, 3) * 255).astype(np.float32)
    given = tmp_path / f"given.{extension}"
    if extension == "npy":
        np.save(given, pixels)
    else:
        blob = BlobProto(num=1, channels=3, height=6, width=5, data=[pixels.transpose(2, 0, 1).tobytes()])
        given.write_bytes(blob.SerializeToString())
    assert assemble_one(tiny_network_config(given), tmp_path / "run") == str(tmp_path / "run" / "model_final.pth")
    os.remove(given)  # the network needs nothing but its own folder
    assert not list((tmp_path / "run").glob("*.partial"))
    cfg, predictor = load(tmp_path / "run")
    copy = cfg.MODEL.PIXEL_MEAN_IMAGE
    assert copy == str(tmp_path / "run" / "mean_image.npy")
    assert np.array_equal(np.load(copy), pixels)
    assert torch.equal(predictor.model.mean_image.pixels, torch.from_numpy(pixels).permute(2, 0, 1))
    checkpoint = torch.load(cfg.MODEL.WEIGHTS, weights_only=True)
    assert set(predictor.model.state_dict()) == set(checkpoint["model"])
    assert set(checkpoint["frcnn_alt"]) == {"assembly", "input_format", "pixel_std"}  # no mean of the channels
    assert predictor(np.zeros((84, 100, 3), np.uint8))["instances"].image_size == (84, 100)


def test_an_earlier_copy_may_be_the_mean_image(tmp_path):
    """A network that goes on with its own config.yaml, into its own folder."""
    np.save(tmp_path / "given.npy", np.full((2, 2, 3), 7.0))
    assemble_one(tiny_network_config(tmp_path / "given.npy"), tmp_path / "run")
    cfg, _ = load(tmp_path / "run")
    assemble(cfg, STEPS, dict.fromkeys(STEPS.values(), str(tmp_path / "run" / "step.pth")), str(tmp_path / "run"))
    assert (np.load(tmp_path / "run" / "mean_image.npy") == 7).all()


def test_without_a_mean_image_there_is_no_file(tmp_path):
    assemble_one(tiny_network_config(), tmp_path / "run")
    assert sorted(os.listdir(tmp_path / "run")) == ["config.yaml", "model_final.pth", "step.pth"]
    cfg, predictor = load(tmp_path / "run")
    weights = cfg.MODEL.WEIGHTS
    assert weights == str(tmp_path / "run" / "model_final.pth")
    assert cfg.MODEL.PIXEL_MEAN_IMAGE == "" and predictor.model.mean_image is None
    about = torch.load(weights, weights_only=True)["frcnn_alt"]
    assert about.pop("assembly") == STEPS
    assert about == {"input_format": "BGR", "pixel_mean": [102.9801, 115.9465, 122.7717], "pixel_std": [1.0] * 3}


def test_the_final_config_of_a_relative_path_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = tiny_network_config("mean.npy")
    final = final_config(cfg, "run/model_final.pth")
    copy = final.MODEL.PIXEL_MEAN_IMAGE
    assert copy == str(tmp_path / "run" / "mean_image.npy")
    assert cfg.MODEL.PIXEL_MEAN_IMAGE == "mean.npy"


def test_a_mean_image_that_is_gone_is_named(tmp_path):
    np.save(tmp_path / "given.npy", np.zeros((2, 2, 3)))
    cfg = tiny_network_config(tmp_path / "given.npy")
    assemble_one(cfg, tmp_path / "run")
    os.remove(tmp_path / "given.npy")
    shutil.copy(tmp_path / "run" / "step.pth", tmp_path / "step.pth")
    with pytest.raises(ValueError, match="MODEL.PIXEL_MEAN_IMAGE: .*given.npy does not exist"):
        assemble(cfg, STEPS, dict.fromkeys(STEPS.values(), str(tmp_path / "step.pth")), str(tmp_path))
