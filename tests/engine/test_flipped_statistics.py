"""The region statistics where flipped images have proposals of their own, against the rule (SPEC 5.3)."""

from types import SimpleNamespace

from frcnn_alt.engine.statistics import measure_region_statistics

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from oracles.box_statistics import mirrored
from oracles.flipped_regions import box_statistics_with_flipped_regions
from region_scenes import HEIGHT, NUM_CLASSES, WIDTH, preset_config, preset_roi_heads, scenes

SMALLEST_DEVIATION = 1e-4  # ours, where all samples agree
HEADS = preset_roi_heads(preset_config("paper"))


def record(number, scene, **extra):
    annotations = [
        {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": 0, **extra}
        for box, label in zip(scene.objects, scene.classes)
    ]
    return {"image_id": number, "dataset_name": "d", "width": WIDTH, "height": HEIGHT, "annotations": annotations}


def stored(boxes):
    return np.asarray(boxes, np.float32), np.linspace(1, 0, len(boxes), dtype=np.float32)


def clipped(boxes):
    boxes = np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]


def measured(images, flipped_regions=None, topk=2000, **extra):
    dicts = [record(number, scene, **extra) for number, scene in enumerate(images)]
    sets = {"d": {n: stored(scene.regions) for n, scene in enumerate(images)}}
    flipped_sets = None
    if flipped_regions is not None:
        # Stored sets are mirrored back into the image as it is.
        flipped_sets = {"d": {n: stored(mirrored(boxes, WIDTH)) for n, boxes in enumerate(flipped_regions)}}
    measure_region_statistics(SimpleNamespace(roi_heads=HEADS), dicts, sets, topk, flipped_sets)
    transform = HEADS.box_predictor.box2box_transform
    return transform.mean.numpy().copy(), transform.std.numpy().copy()


def expected(images, flipped_regions):
    mean, deviation = box_statistics_with_flipped_regions(
        [clipped(scene.regions) for scene in images],
        [clipped(boxes) for boxes in flipped_regions],
        [scene.objects for scene in images],
        [scene.classes for scene in images],
        NUM_CLASSES,
        WIDTH,
    )
    return mean, np.maximum(deviation, SMALLEST_DEVIATION)


@given(
    pairs=st.lists(st.tuples(scenes(), scenes()), min_size=1, max_size=3).filter(
        lambda p: any(len(s.objects) for s, _ in p)
    )
)
def test_regions_of_the_flipped_images_count_in_place_of_mirrored_ones(pairs):
    images, flipped_regions = [scene for scene, _ in pairs], [other.regions for _, other in pairs]
    mean, std = measured(images, flipped_regions)
    expected_mean, expected_std = expected(images, flipped_regions)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
    np.testing.assert_allclose(std, expected_std, rtol=1e-4, atol=1e-6)


def one_image():
    objects = np.array([[4.0, 4, 24, 24], [26, 10, 46, 38]])
    rng = np.random.default_rng(0)
    near = np.repeat(objects, 6, axis=0)
    regions = [near + rng.uniform(-3, 3, near.shape) for _ in range(2)]
    return SimpleNamespace(objects=objects, classes=(0, 2), regions=regions[0]), mirrored(regions[1], WIDTH)


def test_the_mean_of_dx_is_no_longer_zero():
    image, flipped = one_image()
    mean, std = measured([image], [flipped])
    expected_mean, expected_std = expected([image], [flipped])
    np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
    np.testing.assert_allclose(std, expected_std, rtol=1e-4)
    assert abs(mean[0, 0]) > 1e-3


def test_the_very_same_regions_flipped_are_the_mirror_images():
    image, _ = one_image()
    for actual, wanted in zip(measured([image], [mirrored(image.regions, WIDTH)]), measured([image])):
        np.testing.assert_allclose(actual, wanted, atol=1e-6)


def test_the_limit_is_that_of_training_for_both_sets():
    image, flipped = one_image()
    mean, _ = measured([image], [flipped], topk=5)
    fewer = SimpleNamespace(objects=image.objects, classes=image.classes, regions=image.regions[:5])
    np.testing.assert_allclose(mean, expected([fewer], [flipped[:5]])[0], atol=1e-5)


@pytest.mark.parametrize("flipped", [True, False])
def test_masks_and_keypoints_of_the_objects_do_not_matter(flipped):
    image, boxes = one_image()
    extra = {"segmentation": [[1.0, 1, 9, 1, 9, 9]], "keypoints": [3.0, 3, 2]}
    bare = measured([image], [boxes] if flipped else None)
    assert np.array_equal(bare, measured([image], [boxes] if flipped else None, **extra))
