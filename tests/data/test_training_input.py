"""What the loaders hand to the network: pixels, flips, boxes, and which images and objects (SPEC 2)."""

import itertools
from pathlib import Path

import frcnn_alt
from frcnn_alt.data import (
    build_test_loader,
    build_train_loader,
    load_dataset_dicts,
    load_training_dicts,
    register_datasets,
)
from frcnn_alt.evaluation.detections import ground_truth_arrays

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.modeling import build_model
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_catalogs")

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "vgg16_4step.yaml"
WIDTH, HEIGHT = 60, 40
# 1-based, both corners inside: at the left and the top edge, at the right and the bottom edge, somewhere
OBJECTS = [("dog", 1, 1, 12, 30), ("cat", 41, 21, 60, 40), ("dog", 7, 9, 31, 22)]


def config(root, *overrides):
    """The paper's config for a folder, with one image a batch that is as large as in its file."""
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIG))
    cfg.merge_from_list(["DATASETS.VOC_LAYOUT.ROOT", str(root), "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 1])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (HEIGHT,), "INPUT.MIN_SIZE_TEST", HEIGHT, *overrides])
    register_datasets(cfg)
    return cfg


def training_inputs(cfg, count):
    """The first `count` images that the training loader gives."""
    loader = build_train_loader(cfg, load_training_dicts(cfg), DatasetMapper(cfg, is_train=True), seed=3)
    return list(itertools.islice(itertools.chain.from_iterable(loader), count))


@pytest.fixture
def pixels(voc_folder):
    """An image in a file without loss, its pixels (H, W, RGB), and its folder."""
    root = voc_folder({"a": OBJECTS}, size=(WIDTH, HEIGHT), extension=".png")
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(values).save(root / "JPEGImages" / "a.png")
    return root, values


def expected_boxes(flipped):
    """Continuous boxes by the rule for 0-based corners that are both inside: x1' = W - 1 - x2, x2' = W - 1 - x1."""
    boxes = []
    for _, xmin, ymin, xmax, ymax in OBJECTS:
        x1, y1, x2, y2 = xmin - 1, ymin - 1, xmax - 1, ymax - 1
        if flipped:
            x1, x2 = WIDTH - 1 - x2, WIDTH - 1 - x1
        boxes.append([x1, y1, x2 + 1, y2 + 1])
    return boxes


def test_half_of_the_training_images_are_mirrored_with_their_boxes(pixels):
    root, rgb = pixels
    bgr = rgb[:, :, ::-1]
    seen = []
    for one in training_inputs(config(root), 400):
        image = one["image"].permute(1, 2, 0).numpy()
        flipped = not np.array_equal(image, bgr)
        np.testing.assert_array_equal(image, bgr[:, ::-1] if flipped else bgr)  # mirrored, or as it is: nothing else
        assert one["instances"].gt_boxes.tensor.tolist() == expected_boxes(flipped)
        assert one["instances"].gt_classes.tolist() == [1, 0, 1]
        seen.append(flipped)
    assert 0.45 < np.mean(seen) < 0.55
    assert any(a and b for a, b in zip(seen, seen[1:])) and any(a != b for a, b in zip(seen, seen[1:]))


def test_a_test_image_is_shown_once_and_as_it_is(pixels):
    root, rgb = pixels
    cfg = config(root)
    for _ in range(5):
        ((one,),) = build_test_loader(cfg, load_dataset_dicts(cfg.DATASETS.TEST[0]))
        np.testing.assert_array_equal(one["image"].permute(1, 2, 0).numpy(), rgb[:, :, ::-1])
        assert (one["height"], one["width"]) == (HEIGHT, WIDTH)


def test_pixels_become_bgr_less_their_mean(pixels):
    """Blue first, 0 to 255, less 102.9801, 115.9465, 122.7717; the deviation is 1."""
    root, rgb = pixels
    cfg = config(root, "MODEL.BACKBONE.WIDTH_MULTIPLIER", 0.01, "MODEL.ROI_BOX_HEAD.FC_DIM", 4, "MODEL.DEVICE", "cpu")
    model = build_model(cfg)
    ((one,),) = build_test_loader(cfg, load_dataset_dicts(cfg.DATASETS.TEST[0]))
    found = model.preprocess_image([one]).tensor[0].permute(1, 2, 0).numpy()
    blue, green, red = (rgb[:, :, channel].astype(float) for channel in (2, 1, 0))
    np.testing.assert_allclose(found[:, :, 0], blue - 102.9801, atol=1e-4)
    np.testing.assert_allclose(found[:, :, 1], green - 115.9465, atol=1e-4)
    np.testing.assert_allclose(found[:, :, 2], red - 122.7717, atol=1e-4)


def test_boxes_grow_with_each_side_of_the_image(voc_folder):
    """333 x 500 becomes 600 x 901: sides of continuous boxes grow by the true ratios, 600 / 333 and 901 / 500."""
    cfg = config(voc_folder({"a": [("dog", 101, 34, 500, 333)]}, size=(500, 333)), "INPUT.MIN_SIZE_TRAIN", (600,))
    (one,) = training_inputs(cfg, 1)
    assert tuple(one["image"].shape) == (3, 600, 901)
    across, down = 901 / 500, 600 / 333
    plain, mirrored = [100 * across, 33 * down, 901, 600], [0, 33 * down, 400 * across, 600]
    (box,) = one["instances"].gt_boxes.tensor.tolist()
    assert box == pytest.approx(plain if box[0] > 0 else mirrored, rel=1e-6)


def test_only_images_with_a_box_that_is_not_difficult_are_trained_on_and_all_are_evaluated(voc_folder):
    dog, difficult = ("dog", 2, 2, 30, 30), ("dog", 31, 2, 60, 40, 1)
    images = {"one": [dog], "mixed": [difficult, dog], "difficult": [difficult], "nothing": []}
    cfg = config(voc_folder(images))
    inputs = training_inputs(cfg, 20)
    assert {one["image_id"] for one in inputs} == {"one", "mixed"}
    assert all(len(one["instances"]) == 1 for one in inputs)
    assert {one["instances"].gt_boxes.tensor[0, 2].item() for one in inputs} <= {30, WIDTH - 1}
    truth = {record["image_id"]: ground_truth_arrays(record) for record in load_dataset_dicts(cfg.DATASETS.TEST[0])}
    assert {name: arrays["difficult"].tolist() for name, arrays in truth.items()} == {
        "one": [False],
        "mixed": [True, False],
        "difficult": [True],
        "nothing": [],
    }
    assert truth["mixed"]["boxes"].tolist() == [[30, 1, 60, 40], [1, 1, 30, 30]]
    assert len(build_test_loader(cfg, load_dataset_dicts(cfg.DATASETS.TEST[0]))) == 4


@pytest.mark.parametrize("grouping", [True, False])
def test_a_batch_is_of_landscapes_or_of_portraits(voc_folder, grouping):
    root = voc_folder({f"{n}": [("dog", 2, 2, 20, 20)] for n in range(12)}, size=(48, 32))
    for n in range(0, 12, 2):
        Image.new("RGB", (32, 48)).save(root / "JPEGImages" / f"{n}.jpg")
        annotation = root / "Annotations" / f"{n}.xml"
        text = annotation.read_text().replace("<width>48<", "<width>32<").replace("<height>32<", "<height>48<")
        annotation.write_text(text)
    overrides = [] if grouping else ["DATALOADER.ASPECT_RATIO_GROUPING", False]
    cfg = config(root, "SOLVER.IMS_PER_BATCH", 2, *overrides)
    mapper = DatasetMapper(cfg, is_train=True)
    batches = list(itertools.islice(build_train_loader(cfg, load_training_dicts(cfg), mapper, seed=0), 12))
    shapes = [{torch.Size(one["image"].shape) for one in batch} for batch in batches]
    assert {len(batch) for batch in batches} == {2}
    assert all(len(shapes_of_batch) == 1 for shapes_of_batch in shapes) == grouping
    assert len(set().union(*shapes)) == 2  # both kinds come
