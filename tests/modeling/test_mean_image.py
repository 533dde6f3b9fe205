"""MODEL.PIXEL_MEAN_IMAGE: every form of the file, and what both meta architectures make of it, against an oracle."""

import sys

from frcnn_alt.caffe_proto import BlobProto
from frcnn_alt.modeling.mean_image import MeanImage, read_mean_image

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from hypothesis import given
from hypothesis import strategies as st
from one_convolution_backbone import one_convolution_model
from oracles.mean_image import network_input

MODELS = ["FasterRCNN", "FasterRCNNProposalNetwork"]
STD = [1.0, 2.0, 57.5]


def mean_pixels(height=5, width=7, seed=0):
    return (np.random.RandomState(seed).rand(height, width, 3) * 255).astype(np.float32)


def make_model(meta_architecture, path="", **model_keys):
    """A network whose `seen` is the batch that its backbone was given last."""
    keys = {"META_ARCHITECTURE": meta_architecture, "PIXEL_STD": STD, "PIXEL_MEAN_IMAGE": str(path), **model_keys}
    model = one_convolution_model(*(part for key, value in keys.items() for part in (f"MODEL.{key}", value)))

    def remember(_, inputs):
        model.seen = inputs[0].detach().cpu().double().numpy()

    model.backbone.register_forward_pre_hook(remember)
    return model


def one_input(height=40, width=56, seed=0):
    torch.manual_seed(seed)
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([[5.0, 4.0, 30.0, 32.0]]))
    instances.gt_classes = torch.tensor([1])
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": height, "width": width}


@pytest.fixture
def mean_file(tmp_path):
    np.save(tmp_path / "mean.npy", mean_pixels())
    return tmp_path / "mean.npy"


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_the_mean_is_resized_to_the_image_and_subtracted(height, width, image_height, image_width, seed):
    pixels = mean_pixels(height, width, seed)
    torch.manual_seed(seed)
    image = torch.randint(0, 256, (3, image_height, image_width), dtype=torch.uint8)
    (ours,) = MeanImage(pixels)([image])
    oracle = network_input([image.numpy()], pixels, [1.0] * 3)[0]
    np.testing.assert_allclose(ours.numpy(), oracle, atol=2e-4)  # of 255


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("meta_architecture", MODELS)
def test_what_the_backbone_is_given(meta_architecture, training, mean_file):
    model = make_model(meta_architecture, mean_file).train(training)
    inputs = [one_input(40, 56), one_input(64, 33, seed=1)]  # both are padded, one at the right and one below
    before = [one["image"].clone() for one in inputs]
    with EventStorage():
        model(inputs)
    oracle = network_input([image.numpy() for image in before], mean_pixels(), STD)
    np.testing.assert_allclose(model.seen, oracle, atol=2e-4)
    assert (model.seen[0, :, 40:] == 0).all() and (model.seen[1, :, :, 33:] == 0).all()
    assert all(torch.equal(one["image"], image) for one, image in zip(inputs, before))  # the caller's are not changed


def test_preprocessing_called_directly_subtracts_it_too(mean_file):
    model = make_model("FasterRCNN", mean_file)
    one = one_input()
    oracle = network_input([one["image"].numpy()], mean_pixels(), STD)
    np.testing.assert_allclose(model.preprocess_image([one]).tensor.numpy(), oracle, atol=2e-4)


@pytest.mark.parametrize("meta_architecture", MODELS)
def test_a_constant_mean_image_is_the_pixel_mean(meta_architecture, tmp_path):
    mean = [102.9801, 115.9465, 122.7717]
    np.save(tmp_path / "constant.npy", np.full((3, 4, 3), mean, np.float32))
    seen = []
    for path in ("", tmp_path / "constant.npy"):
        model = make_model(meta_architecture, path, PIXEL_MEAN=mean).eval()
        model([one_input()])
        seen.append(model.seen)
    np.testing.assert_allclose(*seen, atol=5e-5)


@pytest.mark.parametrize("meta_architecture", MODELS)
def test_the_state_dict_has_the_same_keys_with_and_without(meta_architecture, mean_file):
    with_image, without = make_model(meta_architecture, mean_file), make_model(meta_architecture)
    assert list(with_image.state_dict()) == list(without.state_dict())
    assert without.mean_image is None
    stock = meta_architecture.replace("FasterRCNNP", "P").replace("FasterRCNN", "GeneralizedRCNN")
    assert list(without.state_dict()) == list(make_model(stock).state_dict())
    without.eval()([one_input()])
    raw = one_input()["image"].double().numpy()
    expected = (raw - np.array([103.53, 116.28, 123.675])[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(without.seen[0], expected, atol=1e-4)


def test_npy_is_in_the_order_of_the_input(mean_file):
    for order in ("BGR", "RGB"):
        image = read_mean_image(str(mean_file), order)
        assert image.dtype == np.float32 and np.array_equal(image, mean_pixels())


@pytest.mark.parametrize("new_shape", [True, False])
def test_caffes_binaryproto_is_bgr_and_channels_first(new_shape, tmp_path):
    pixels = mean_pixels()
    blob = BlobProto(data=[pixels.transpose(2, 0, 1).astype("<f4").tobytes()])
    if new_shape:
        blob.shape.dim.extend([3, 5, 7])
    else:
        blob.num, blob.channels, blob.height, blob.width = 1, 3, 5, 7
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(blob.SerializeToString())
    assert np.array_equal(read_mean_image(str(path), "BGR"), pixels)
    assert np.array_equal(read_mean_image(str(path), "RGB"), pixels[:, :, ::-1])
    with pytest.raises(ValueError, match="PIXEL_MEAN_IMAGE: .*mean.binaryproto holds 3 channels, BGR, .*'L'"):
        read_mean_image(str(path), "L")
    path.write_bytes(b"\xff\xff\xff no protobuf")
    with pytest.raises(ValueError, match="PIXEL_MEAN_IMAGE: .*mean.binaryproto cannot be read"):
        read_mean_image(str(path), "BGR")


def scipy_io():
    return pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is an optional package")


def test_matlabs_mat_is_rgb(tmp_path):
    path = tmp_path / "mean_image.mat"
    scipy_io().savemat(path, {"image_mean": mean_pixels().astype(np.float64)})
    assert np.array_equal(read_mean_image(str(path), "RGB"), mean_pixels())
    assert np.array_equal(read_mean_image(str(path), "BGR"), mean_pixels()[:, :, ::-1])


@pytest.mark.parametrize(
    "contents, message",
    [
        ({"weights": np.zeros((4, 5))}, r"it holds weights \(4, 5\)"),
        ({"a": np.zeros((4, 5, 3)), "b": np.zeros((6, 5, 3))}, r"holds a \(4, 5, 3\), b \(6, 5, 3\)"),
        ({"name": "a text"}, "it holds nothing"),
    ],
)
def test_a_mat_without_one_image_is_refused(contents, message, tmp_path):
    path = tmp_path / "mean_image.mat"
    scipy_io().savemat(path, contents)
    with pytest.raises(ValueError, match=f"PIXEL_MEAN_IMAGE: .*mean_image.mat cannot be read: .*{message}"):
        read_mean_image(str(path), "BGR")


def test_a_mat_that_scipy_does_not_read_is_refused(tmp_path):
    scipy_io()
    path = tmp_path / "mean_image.mat"
    for content, message in [(b"\x89HDF".ljust(124) + b"\x00\x02IM", "HDF5"), (b"no MATLAB file", "no MATLAB file")]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"PIXEL_MEAN_IMAGE: .*mean_image.mat cannot be read: .*{message}"):
            read_mean_image(str(path), "BGR")


def test_mat_without_scipy_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "mean_image.mat"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ValueError, match="PIXEL_MEAN_IMAGE: .*mean_image.mat .*pip install scipy"):
        read_mean_image(str(path), "BGR")


def test_a_real_mat_file(tmp_path):
    scipy_io = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is an optional package")
    path = tmp_path / "mean_image.mat"
    scipy_io.savemat(path, {"image_mean": mean_pixels()})
    assert np.array_equal(read_mean_image(str(path), "RGB"), mean_pixels())


@pytest.mark.parametrize(
    "name, array, message",
    [
        ("flat.npy", np.zeros((4, 5)), r"height x width x channels, and its shape is \(4, 5\)"),
        ("empty.npy", np.zeros((0, 5, 3)), r"its shape is \(0, 5, 3\)"),
        ("text.npy", np.full((4, 5, 3), "a"), "finite numbers, and it holds <U1"),
        ("nan.npy", np.full((4, 5, 3), np.nan), "finite numbers"),
        ("objects.npy", np.array([{}]), "cannot be read: .*allow_pickle"),
        ("mean.png", None, "must be a .npy, .binaryproto, .mat file"),
        ("nowhere.npy", None, "does not exist"),
    ],
)
def test_unusable_files_are_named_with_the_key(name, array, message, tmp_path):
    if array is not None:
        np.save(tmp_path / name, array, allow_pickle=True)
    with pytest.raises(ValueError, match=f"MODEL.PIXEL_MEAN_IMAGE: .*{name} .*{message}"):
        read_mean_image(str(tmp_path / name), "BGR")


@pytest.mark.parametrize("meta_architecture", MODELS)
def test_other_channels_than_the_input_are_refused(meta_architecture, tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((4, 5, 1)))
    with pytest.raises(ValueError, match="MODEL.PIXEL_MEAN_IMAGE has 1 channels, .* 3"):
        make_model(meta_architecture, tmp_path / "grey.npy")
