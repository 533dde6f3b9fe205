"""Pre-training where MODEL.PIXEL_MEAN_IMAGE is set: what its file records, and which run it takes for the same."""

import os

from frcnn_alt.checkpointing import CheckpointError, SafeCheckpointer, read_checkpoint
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.pretrain import pretrain, working_folder
from frcnn_alt.engine.pretrain_data import open_classification_data

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from miniature import tiny_config
from voc_files import write_image

PIXELS = np.random.RandomState(0).rand(5, 7, 3).astype(np.float32) * [40, 120, 200]


@pytest.fixture
def mean_file(tmp_path):
    np.save(tmp_path / "mean.npy", PIXELS)
    return str(tmp_path / "mean.npy")


@pytest.fixture
def config(shapes, tmp_path):
    """A function that makes the config of a pre-training of one iteration."""

    def make(path="", **model_keys):
        cfg = tiny_config(shapes, tmp_path / "run")
        cfg.MODEL.DEVICE = "cpu"
        for key, value in {"IMAGE_SIZE": 32, "MIN_SCALE": 1.0, "BATCH_SIZE": 4, "MAX_ITER": 1, "STEPS": ()}.items():
            cfg.PRETRAIN[key] = value
        for key, value in {"PIXEL_MEAN_IMAGE": path, **model_keys}.items():
            cfg.MODEL[key] = value
        return cfg

    return make


def test_the_file_records_no_pixel_mean_and_fits_the_detector(config, mean_file, tmp_path):
    cfg = config(mean_file)
    path = pretrain(cfg, str(tmp_path / "weights.pth"))
    about = read_checkpoint(path)["frcnn_alt"]
    assert about["input_format"] == "BGR" and about["pixel_std"] == [1.0, 1.0, 1.0] and "pixel_mean" not in about
    for fed in (cfg, config()):  # nothing is known of the mean; a scale is
        SafeCheckpointer(build_model(fed)).load(path)
    with pytest.raises(CheckpointError, match="MODEL.PIXEL_STD is"):
        SafeCheckpointer(build_model(config(mean_file, PIXEL_STD=[58.0, 57.0, 57.0]))).load(path)


def test_the_mean_image_decides_the_weights_and_the_pixel_mean_no_more(config, mean_file, tmp_path):
    paths = {name: str(tmp_path / f"{name}.pth") for name in ("image", "other_mean", "scalar")}
    pretrain(config(mean_file), paths["image"])
    pretrain(config(mean_file, PIXEL_MEAN=[1.0, 2.0, 3.0]), paths["other_mean"])
    pretrain(config(), paths["scalar"])
    image, other_mean, scalar = (read_checkpoint(path) for path in paths.values())
    assert image["frcnn_alt"]["config_hash"] == other_mean["frcnn_alt"]["config_hash"]
    assert all(torch.equal(image["model"][name], other_mean["model"][name]) for name in image["model"])
    assert any(not torch.equal(image["model"][name], scalar["model"][name]) for name in image["model"])


def test_a_finished_file_is_known_by_the_numbers_of_the_mean_image(config, mean_file, tmp_path):
    path = pretrain(config(mean_file), str(tmp_path / "weights.pth"))
    first = os.stat(path).st_mtime_ns
    np.save(tmp_path / "copy.npy", PIXELS)
    pretrain(config(str(tmp_path / "copy.npy")), path)
    assert os.stat(path).st_mtime_ns == first
    np.save(mean_file, PIXELS + 1)
    for other in (config(mean_file), config()):
        with pytest.raises(ConfigError, match="not made with this config"):
            pretrain(other, path)


def test_outside_of_an_image_is_the_mean_of_the_mean_image(config, mean_file):
    """A window beside the image shows nothing else."""
    for path, mean in [(mean_file, PIXELS.mean(axis=(0, 1))), ("", [102.9801, 115.9465, 122.7717])]:
        source = open_classification_data(config(path), seed=0).train.source
        crop = source.cut(0, np.array([-30.0, -30.0, -10.0, -10.0]), 8)
        np.testing.assert_array_equal(crop, np.broadcast_to(np.round(mean), (8, 8, 3)))


@pytest.mark.parametrize("data", ["crops", "folder"])
@pytest.mark.parametrize("name, message", [("nowhere.npy", "does not exist"), ("grey.npy", "has 1 channels")])
def test_an_unusable_mean_image_is_refused_before_anything_is_written(data, name, message, config, tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((4, 5, 1)))
    cfg = config(str(tmp_path / name))
    if data == "folder":
        cfg.PRETRAIN.DATA = str(tmp_path / "imagenet")
        for split in ("train", "val"):
            (tmp_path / "imagenet" / split / "cat").mkdir(parents=True)
            write_image(tmp_path / "imagenet" / split / "cat" / "1.png", (40, 40))
    output = str(tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=f"MODEL.PIXEL_MEAN_IMAGE.*{message}"):
        pretrain(cfg, output)
    assert not os.path.exists(output) and not os.path.exists(working_folder(output))
