"""What the classifier of pre-training feeds its backbone: the detector's pixels, with a mean image or without one."""

from frcnn_alt.caffe_proto import BlobProto
from frcnn_alt.checkpointing import pixels_of_model
from frcnn_alt.modeling.classifier import BackboneClassifier

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from oracles.mean_image import network_input
from random_detector import detector_config

MEAN, STD = [102.9801, 115.9465, 122.7717], [1.0, 2.0, 57.5]


def config(path=""):
    cfg = detector_config("zf_4step.yaml", "paper")
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = MEAN, STD
    cfg.MODEL.PIXEL_MEAN_IMAGE = str(path)
    return cfg


def classifier(cfg):
    torch.manual_seed(0)
    return BackboneClassifier(cfg, num_classes=3)


def batch(side=32, count=2):
    return torch.from_numpy(np.random.RandomState(side).randint(0, 256, (count, 3, side, side), dtype=np.uint8))


def backbone_input(model, images, training=False):
    seen = []
    handle = model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone().numpy()))
    model.train(training)
    with torch.no_grad(), EventStorage():
        model((images, torch.zeros(len(images), dtype=torch.long)))
    handle.remove()
    return seen[0]


@pytest.fixture
def mean_pixels():
    return (np.random.RandomState(1).rand(5, 7, 3) * 255).astype(np.float32)


@pytest.fixture
def mean_file(mean_pixels, tmp_path):
    np.save(tmp_path / "mean.npy", mean_pixels)
    return tmp_path / "mean.npy"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", [16, 32, 45])
def test_the_mean_image_is_resized_to_the_batch_and_subtracted(side, training, mean_pixels, mean_file):
    images = batch(side)
    before = images.clone()
    ours = backbone_input(classifier(config(mean_file)), images, training)
    np.testing.assert_allclose(ours, network_input(list(images.numpy()), mean_pixels, STD), atol=2e-4)  # of 255
    assert torch.equal(images, before)  # the caller's are not changed


def test_without_a_mean_image_the_pixel_mean_is_subtracted():
    images = batch()
    model = classifier(config())
    assert model.mean_image is None
    oracle = network_input(list(images.numpy()), np.array(MEAN)[None, None], STD)
    np.testing.assert_allclose(backbone_input(model, images), oracle, atol=2e-4)


@pytest.mark.parametrize("with_image", [True, False])
def test_the_detector_is_fed_the_same(with_image, mean_file):
    cfg = config(mean_file if with_image else "")
    images = batch()
    theirs = build_model(cfg).preprocess_image([{"image": image} for image in images]).tensor
    np.testing.assert_allclose(backbone_input(classifier(cfg), images), theirs.numpy(), atol=1e-5)


def test_channels_are_put_in_the_order_of_the_input(mean_pixels, tmp_path):
    """Caffe's mean file is BGR; here the network expects RGB."""
    blob = BlobProto(data=[mean_pixels.transpose(2, 0, 1).astype("<f4").tobytes()])
    blob.shape.dim.extend([3, 5, 7])
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    cfg = config(tmp_path / "mean.binaryproto")
    cfg.INPUT.FORMAT = "RGB"
    images = batch()
    oracle = network_input(list(images.numpy()), mean_pixels[:, :, ::-1], STD)
    np.testing.assert_allclose(backbone_input(classifier(cfg), images), oracle, atol=2e-4)


def test_a_mean_image_changes_no_weights_and_is_none_of_them(mean_file):
    with_image, without = classifier(config(mean_file)), classifier(config())
    ours, theirs = with_image.state_dict(), without.state_dict()
    assert list(ours) == list(theirs) and list(with_image.detector_state_dict()) == list(without.detector_state_dict())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert "pixel_mean" not in pixels_of_model(with_image)  # a checkpoint with numbers for it is not compared
    assert pixels_of_model(without)["pixel_mean"] == pytest.approx(MEAN)


def test_other_channels_than_the_input_are_refused(tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((4, 5, 1)))
    with pytest.raises(ValueError, match="MODEL.PIXEL_MEAN_IMAGE has 1 channels, .* 3"):
        classifier(config(tmp_path / "grey.npy"))
