"""Crops of a detection set: their IoU with the boxes, what they show, and that they follow from (seed, position)."""

from frcnn_alt.data.crop_datasets import TrainingCrops, ValidationCrops
from frcnn_alt.data.crops import CropSource
from frcnn_alt.data.problems import DatasetError

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from PIL import Image

COLOURS = [(255, 0, 0), (0, 0, 255)]  # RGB by class
BOXES = [[(20, 20, 60, 50), (90, 60, 110, 90)], [(5, 30, 35, 80), (70, 10, 110, 40)]]  # by image; class = place


def _iou(a, b):
    """By counting pixels on a grid of a tenth of a pixel's side... of whole windows, as an oracle."""
    xs, ys = np.arange(-60, 200, 0.5) + 0.25, np.arange(-60, 200, 0.5) + 0.25
    inside = [((xs >= x1) & (xs < x2))[None] & ((ys >= y1) & (ys < y2))[:, None] for x1, y1, x2, y2 in (a, b)]
    return (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()


@pytest.fixture
def dicts(tmp_path):
    records = []
    for number, boxes in enumerate(BOXES):
        image = Image.new("RGB", (120, 100), (0, 255, 0))
        annotations = []
        for label, box in enumerate(boxes):
            image.paste(COLOURS[label], box)
            annotations.append({"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": label})
        path = tmp_path / f"{number}.png"
        image.save(path)
        records.append({"file_name": str(path), "width": 120, "height": 100, "annotations": annotations})
    return records


def _source(dicts, **changes):
    arguments = {"shortest_edge": 100, "max_size": 200, "image_format": "BGR", "pixel_mean": [0.0, 255.0, 0.0]}
    return CropSource(dicts, 2, **{**arguments, **changes})


def _training(source, **changes):
    arguments = {"seed": 5, "batch_size": 8, "background_fraction": 0.25, "image_size": 64, "min_scale": 0.5}
    return TrainingCrops(source, **{**arguments, **changes})


def test_object_windows_hold_the_object(dicts):
    source = _source(dicts)
    rng = np.random.default_rng(0)
    for _ in range(50):
        number, window, label = source.random_object(rng)
        box = BOXES[number][label]
        assert (window[:2] <= np.array(box[:2]) + 1e-6).all() and (window[2:] >= np.array(box[2:]) - 1e-6).all()
        width, height = window[2:] - window[:2]
        assert max(width, height) / min(width, height) <= 1.5 + 1e-6
        assert _iou(window, box) >= 0.4  # 0.5 less what limits the elongation of a 30 x 50 box


def test_background_windows_avoid_all_boxes_also_crowds(dicts):
    dicts[0]["annotations"][0]["iscrowd"] = 1
    source = _source(dicts)
    assert [(number, label) for number, label, _ in source.objects] == [(0, 1), (1, 0), (1, 1)]
    rng = np.random.default_rng(0)
    for _ in range(50):
        number, window, label = source.random_background(rng)
        assert label == 2
        assert max(_iou(window, box) for box in BOXES[number]) < 0.3 + 0.02  # the oracle's grid is coarse


def test_crops_show_their_class(dicts):
    """The middle of an object's crop has the colour of its class (BGR); a tight crop has nothing else."""
    crops = _training(_source(dicts))
    for position in range(64):
        image, label = crops[position]
        assert image.dtype == torch.uint8 and image.shape[0] == 3
        middle = image[:, image.shape[1] // 2 - 2 :, image.shape[2] // 2 - 2 :][:, :4, :4].float().mean(dim=(1, 2))
        if label < 2:
            assert middle.tolist() == pytest.approx(COLOURS[label][::-1], abs=1)
    source = _source(dicts)
    for number, boxes in enumerate(BOXES):
        for label, box in enumerate(boxes):
            tight = source.cut(number, np.array(box, float), 16)
            assert (tight == np.array(COLOURS[label][::-1])).all()


def test_outside_of_the_image_is_the_mean(dicts):
    crop = _source(dicts, pixel_mean=[10.0, 20.0, 30.0]).cut(0, np.array([-20.0, 0.0, 20.0, 20.0]), 40)
    assert (crop[:, :19] == (10, 20, 30)).all()
    assert (crop[:, 21:] == (0, 255, 0)).all()


def test_windows_follow_the_image_size_of_detection(dicts):
    """At twice the size a box's crop shows the same."""
    window = np.array([10.0, 10.0, 70.0, 60.0])
    small, large = _source(dicts).cut(0, window, 32), _source(dicts, shortest_edge=200, max_size=400).cut(0, window, 32)
    assert np.abs(small.astype(int) - large).mean() < 6


def test_batches(dicts):
    crops = _training(_source(dicts), min_scale=0.5)
    sides = []
    for iteration in range(12):
        batch = [crops[iteration * 8 + place] for place in range(8)]
        assert [label for _, label in batch].count(2) == 2  # a quarter of 8
        assert len({image.shape for image, _ in batch}) == 1
        sides.append(batch[0][0].shape[-1])
    assert set(sides) == {32, 48, 64}


def test_items_follow_from_seed_and_position(dicts):
    forwards = [_training(_source(dicts))[p] for p in range(16)]
    crops = _training(_source(dicts, cache_bytes=0))  # and not from what was cached or asked for before
    backwards = [crops[p] for p in reversed(range(16))][::-1]
    for (image, label), (other, other_label) in zip(forwards, backwards):
        assert label == other_label and torch.equal(image, other)
    other_seed = [_training(_source(dicts), seed=6)[p] for p in range(16)]
    assert any(a.shape != b.shape or not torch.equal(a, b) for (a, _), (b, _) in zip(forwards, other_seed))


def test_classes_are_drawn_equally_often(dicts):
    for record in dicts:
        record["annotations"] += [dict(record["annotations"][0]) for _ in range(20)]
    rng = np.random.default_rng(0)
    source = _source(dicts)
    labels = [source.random_object(rng)[2] for _ in range(400)]
    assert 150 < labels.count(1) < 250


def test_validation_crops(dicts):
    crops = ValidationCrops(_source(dicts), background_fraction=0.5, image_size=32)
    assert [crops[i][1] for i in range(len(crops))] == [0, 1, 0, 1, 2, 2, 2, 2]
    assert all(torch.equal(crops[i][0], crops[i][0]) and crops[i][0].shape == (3, 32, 32) for i in range(8))


def test_errors(dicts):
    full = [{**dicts[0], "annotations": [{"bbox": [0, 0, 120, 100], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}]}]
    tiny_box = [{**dicts[0], "annotations": [{**dicts[0]["annotations"][0], "iscrowd": 1}]}]
    with pytest.raises(DatasetError, match="None of 1 images has an object"):
        _source(tiny_box)
    number, window, _ = _source(full).random_background(np.random.default_rng(0))
    assert _iou(window, (0, 0, 120, 100)) < 0.32  # found by shrinking
