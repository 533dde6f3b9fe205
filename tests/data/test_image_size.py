"""What happens to an image between its file and the network: resizing, flipping, and nothing else (SPEC 2)."""

from pathlib import Path

import frcnn_alt

import numpy as np
import pytest
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from hypothesis import given
from hypothesis import strategies as st
from oracles import image_size
from PIL import Image

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PRESETS = [None, *sorted(path.name for path in (CONFIGS / "presets").glob("*.yaml"))]


def load(name, preset=None):
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / name))
    if preset is not None:
        cfg.merge_from_file(str(CONFIGS / "presets" / preset))
    return cfg


def augmentations(cfg, is_train):
    return DatasetMapper(cfg, is_train).augmentations.augs


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["zf_4step.yaml", "vgg16_4step.yaml"])
def test_training_resizes_and_flips_half_of_the_time_and_a_test_only_resizes(name, preset):
    cfg = load(name, preset)
    resize, flip = augmentations(cfg, is_train=True)
    assert type(resize) is T.ResizeShortestEdge and type(flip) is T.RandomFlip
    assert (flip.prob, flip.horizontal, flip.vertical) == (0.5, True, False)
    (test_resize,) = augmentations(cfg, is_train=False)
    assert type(test_resize) is T.ResizeShortestEdge
    for one in (resize, test_resize):
        assert (set(one.short_edge_length), one.max_size, one.is_range) == ({600}, 1000, False)
    assert not cfg.TEST.AUG.ENABLED


def size_by_package(resize, height, width):
    image = np.broadcast_to(np.uint8(0), (height, width, 3))  # takes no memory
    transform = resize.get_transform(image)
    return transform.new_h, transform.new_w


@pytest.fixture(scope="module")
def resizes():
    """The resizing of training and of test."""
    cfg = load("vgg16_4step.yaml")
    return [augmentations(cfg, is_train)[0] for is_train in (True, False)]


SIDE = st.integers(20, 3000)


@given(st.tuples(SIDE, SIDE))
def test_any_size_in_both_orientations(resizes, size):
    for height, width in (size, size[::-1]):
        expected = image_size.resized(height, width)
        for resize in resizes:
            found = size_by_package(resize, height, width)
            if any(map(image_size.is_half, image_size.exact_size(height, width))):
                assert np.abs(np.subtract(found, expected)).max() <= 1  # detectron2 counts in double precision
            else:
                assert found == expected


def test_a_large_random_set_of_sizes(resizes):
    sizes = np.random.default_rng(0).integers(20, 3000, (10000, 2)).tolist()
    sizes += [(height, 500) for height in range(200, 900)]  # as in VOC
    exact = [image_size.exact_size(*size) for size in sizes]
    sizes = [size for size, sides in zip(sizes, exact) if not any(map(image_size.is_half, sides))]
    assert len(sizes) > 10000
    for resize in resizes:
        assert [size_by_package(resize, *size) for size in sizes] == [image_size.resized(*size) for size in sizes]


@pytest.mark.parametrize(
    "size, expected",
    [
        ((375, 500), (600, 800)),  # VOC's commonest size
        ((333, 500), (600, 901)),
        ((500, 334), (898, 600)),
        ((281, 500), (562, 1000)),  # the longer side decides
        ((500, 160), (1000, 320)),
        ((600, 1000), (600, 1000)),
        ((600, 1001), (599, 1000)),
        ((1200, 1200), (600, 600)),
        ((1800, 3001), (600, 1000)),  # 1000.33 is 1000 after rounding, so the shorter side keeps its 600
        ((400, 501), (600, 752)),  # 751.5: both programs 752
        ((400, 503), (600, 755)),  # 754.5: MATLAB 755, OpenCV 754
    ],
)
def test_sizes_by_hand(resizes, size, expected):
    assert image_size.resized(*size) == expected
    for resize in resizes:
        assert size_by_package(resize, *size) == expected
        assert size_by_package(resize, *size[::-1]) == expected[::-1]


@pytest.mark.parametrize("size", [(133, 99), (23, 31), (50, 140)])
def test_the_oracle_resizes_as_opencv(size):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).uniform(-120, 150, (50, 70, 3))
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(image_size.bilinear(image, *size), expected, atol=1e-9)


def mapped_image(tmp_path, pixels, shorter_side):
    """What the mapper of training makes of an image file, without a flip, (H, W, C) of uint8, BGR."""
    Image.fromarray(pixels).save(tmp_path / "image.png")
    cfg = load("vgg16_4step.yaml")
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (shorter_side,), "none"
    record = {"file_name": str(tmp_path / "image.png"), "height": pixels.shape[0], "width": pixels.shape[1]}
    return DatasetMapper(cfg, is_train=True)({**record, "annotations": []})["image"].permute(1, 2, 0).numpy()


def originals_input(pixels, mean, height, width):
    """The original programs' input: mean subtracted before resizing, bilinear without antialiasing."""
    return image_size.bilinear(pixels[:, :, ::-1].astype(float) - mean, height, width)


@pytest.mark.parametrize("shorter_side", [45, 46, 100, 131])
def test_an_enlarged_image_is_the_originals_up_to_rounding(tmp_path, shorter_side):
    """Neither the order of mean and resizing, nor the interpolation, makes more than one grey level."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 45, 3), dtype=np.uint8)
    mean = np.array(load("vgg16_4step.yaml").MODEL.PIXEL_MEAN)
    found = mapped_image(tmp_path, pixels, shorter_side).astype(float) - mean
    difference = np.abs(found - originals_input(pixels, mean, *found.shape[:2]))
    assert difference.max() < 1 + 1e-9 and difference.mean() < 0.4
    if shorter_side == 45:
        assert difference.max() < 1e-9  # not resized


def test_a_shrunk_image_is_smoothed_here_and_was_not_there(tmp_path):
    """The known deviation: detectron2 averages the pixels that the originals pass over. Noise shows it at its worst."""
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    mean = np.array(load("vgg16_4step.yaml").MODEL.PIXEL_MEAN)
    found = mapped_image(tmp_path, pixels, 30).astype(float) - mean
    expected = originals_input(pixels, mean, 30, 40)
    assert found.std() < 0.7 * expected.std()
    assert abs(found.mean() - expected.mean()) < 3
