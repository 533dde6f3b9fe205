"""The statistics of the box targets of each class, against the rule (SPEC 5.3)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.box_statistics import box_statistics_per_class
from region_scenes import (
    NUM_CLASSES,
    WIDTH,
    Scene,
    make_objects,
    make_proposals,
    preset_config,
    preset_roi_heads,
    scenes,
)

SMALLEST_DEVIATION = 1e-4  # ours: where all samples agree, SPEC has a deviation of 0, which nothing can be divided by


def heads_of(preset="paper", **box_head):
    cfg = preset_config(preset)
    for key, value in box_head.items():
        room = cfg.MODEL.ROI_HEADS if key in cfg.MODEL.ROI_HEADS else cfg.MODEL.ROI_BOX_HEAD
        room[key] = value
    return preset_roi_heads(cfg)


HEADS = heads_of(BATCH_SIZE_PER_IMAGE=1)  # sampling must not matter


def measured(heads, images, batch=2, as_boxes=False):
    statistics = heads.new_box_statistics()
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        regions = [make_proposals(scene.regions) for scene in part]
        heads.update_box_statistics(
            statistics,
            [r.proposal_boxes for r in regions] if as_boxes else regions,
            [make_objects(scene.objects, scene.classes) for scene in part],
        )
    return [value.numpy() for value in statistics.finish()]


def expected(images, **rule):
    regions, objects, classes = zip(*images) if images else ((), (), ())
    mean, std = box_statistics_per_class(regions, objects, classes, NUM_CLASSES, width=WIDTH, **rule)
    return mean, np.maximum(std, SMALLEST_DEVIATION)


@given(images=st.lists(scenes(), max_size=3), batch=st.integers(1, 3), as_boxes=st.booleans())
def test_random_scenes(images, batch, as_boxes):
    mean, std = measured(HEADS, images, batch, as_boxes)
    expected_mean, expected_std = expected(images)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
    np.testing.assert_allclose(std, expected_std, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(mean[:, 0], 0)  # the mirror images


@pytest.mark.parametrize("append_gt", [True, False])
def test_objects_are_regions_where_they_are_appended(append_gt):
    scene = Scene(np.array([[0.0, 0, 20, 30]]), np.array([[0.0, 0, 20, 20]]), (1,))
    mean, std = measured(heads_of(PROPOSAL_APPEND_GT=append_gt), [scene])
    expected_mean, expected_std = expected([scene], with_objects=append_gt)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    np.testing.assert_allclose(std, expected_std, rtol=1e-5)
    assert mean[1, 3] == pytest.approx(np.log(20 / 30) / (2 if append_gt else 1))


def test_half_is_foreground_and_less_is_not():
    half = Scene(np.array([[0.0, 0, 20, 40]]), np.array([[0.0, 0, 20, 20]]), (1,))
    less = half._replace(regions=np.array([[0.0, 0, 20, 41]]))
    for scene, samples in ((half, 2), (less, 1)):
        statistics = HEADS.new_box_statistics()
        HEADS.update_box_statistics(
            statistics, [make_proposals(scene.regions)], [make_objects(scene.objects, scene.classes)]
        )
        assert statistics.num_samples == samples


def test_class_without_regions_keeps_raw_targets():
    scene = Scene(np.array([[0.0, 0, 20, 30]]), np.array([[0.0, 0, 20, 20]]), (1,))
    mean, std = measured(HEADS, [scene])
    for missing in (0, 2):
        assert mean[missing].tolist() == [0, 0, 0, 0]
        assert std[missing].tolist() == [1, 1, 1, 1]
    assert std[1, 3] > 0.1


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
def test_both_presets_measure_and_keep_them_in_the_state_dict(preset):
    heads = heads_of(preset)
    random = np.random.RandomState(0)
    objects = random.rand(4, 4) * 10 + [0, 0, 20, 20]
    scene = Scene(np.concatenate([objects + random.randn(4, 4) for _ in range(8)]), objects, (0, 1, 2, 1))
    mean, std = measured(heads, [scene])
    np.testing.assert_allclose(mean, expected([scene])[0], atol=1e-5)
    np.testing.assert_allclose(std, expected([scene])[1], rtol=1e-4)
    heads.set_box_statistics(mean, std)
    state = heads.state_dict()
    assert torch.equal(state["box_predictor.box2box_transform.mean"], torch.from_numpy(mean))
    assert torch.equal(state["box_predictor.box2box_transform.std"], torch.from_numpy(std))


def test_class_agnostic_heads_have_one_row_for_all_classes():
    scene = Scene(np.array([[0.0, 0, 20, 30], [20, 0, 40, 25]]), np.array([[0.0, 0, 20, 20], [20, 0, 40, 20]]), (1, 2))
    mean, std = measured(heads_of(CLS_AGNOSTIC_BBOX_REG=True), [scene])
    one_class = expected([scene._replace(classes=(0, 0))])
    np.testing.assert_allclose(mean, one_class[0][:1], atol=1e-5)
    np.testing.assert_allclose(std, one_class[1][:1], rtol=1e-4)


def test_fixed_statistics_cannot_be_set():
    heads = heads_of(BBOX_REG_STATISTICS="fixed")
    assert heads.new_box_statistics() is None
    with pytest.raises(ValueError, match='BBOX_REG_STATISTICS is "fixed"'):
        heads.set_box_statistics(torch.zeros(NUM_CLASSES, 4), torch.ones(NUM_CLASSES, 4))


def test_numbers_of_images_must_agree():
    regions, objects = make_proposals([[0, 0, 9, 9]]), make_objects([[0, 0, 9, 9]], [0])
    with pytest.raises(ValueError, match="proposals of 2 images and objects of 1"):
        HEADS.update_box_statistics(HEADS.new_box_statistics(), [regions, regions], [objects])
