"""Which regions train the detector, and as what, against the rule (SPEC 5.2)."""

from collections import Counter

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from hypothesis import given
from hypothesis import strategies as st
from oracles.fast_rcnn_targets import IGNORED, label_regions, sampling_counts
from region_scenes import NUM_CLASSES, Scene, make_objects, make_proposals, preset_config, preset_roi_heads, scenes

BACKGROUND_FROM = {"paper": 0.1, "pyfrcnn": 0.0}


def heads_of(preset, regions_per_image=None):
    cfg = preset_config(preset)
    if regions_per_image is not None:
        cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = regions_per_image
    return preset_roi_heads(cfg)


HEADS = {
    (preset, count): heads_of(preset, count) for preset in BACKGROUND_FROM for count in (None, 4, 7, 16)
}  # None: the preset's own number


def sample(heads, scene):
    with EventStorage():
        (sampled,) = heads.label_and_sample_proposals(
            [make_proposals(scene.regions)], [make_objects(scene.objects, scene.classes)]
        )
    return sampled


def with_objects(scene):
    """The regions that the rule is about: the objects are regions too."""
    return np.concatenate([scene.regions, scene.objects])


def assert_sampled_by_the_rule(sampled, scene, background_from, regions_per_image):
    boxes = with_objects(scene)
    labels = label_regions(boxes, scene.objects, scene.classes, NUM_CLASSES, background_from=background_from)
    foreground = sum(0 <= label < NUM_CLASSES for label, _ in labels)
    background = sum(label == NUM_CLASSES for label, _ in labels)
    drawn = sampled.gt_classes.tolist()
    counts = sum(label < NUM_CLASSES for label in drawn), sum(label == NUM_CLASSES for label in drawn)
    assert counts == sampling_counts(foreground, background, regions_per_image)

    candidates = Counter()
    for box, (label, index) in zip(boxes, labels):
        if label != IGNORED:
            candidates[(*box, label, *(scene.objects[index] if label < NUM_CLASSES else ()))] += 1
    chosen = Counter()
    targets = sampled.gt_boxes.tensor.tolist() if len(scene.objects) else [()] * len(drawn)
    for box, label, target in zip(sampled.proposal_boxes.tensor.tolist(), drawn, targets):
        chosen[(*box, label, *(target if label < NUM_CLASSES else ()))] += 1
    assert not chosen - candidates  # no region twice, none with another label or object


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
@given(scene=scenes(), regions_per_image=st.sampled_from([4, 7, 16]), seed=st.integers(0, 99))
def test_random_scenes(preset, scene, regions_per_image, seed):
    torch.manual_seed(seed)
    sampled = sample(HEADS[preset, regions_per_image], scene)
    assert_sampled_by_the_rule(sampled, scene, BACKGROUND_FROM[preset], regions_per_image)


def crowd(foreground, background, nothing=0):
    """One object of 20 x 20 pixels, that many regions that are foreground, background and of no overlap."""
    return Scene(
        np.array(
            [[0, 0, 20, 20 + i % 20] for i in range(foreground)]
            + [[0, 0, 20, 41 + i % 100] for i in range(background)]
            + [[30, 0, 40, 10 + i] for i in range(nothing)],
            dtype=float,
        ).reshape(-1, 4),
        np.array([[0.0, 0.0, 20.0, 20.0]]),
        (1,),
    )


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
@pytest.mark.parametrize(
    "scene, expected",
    [
        (crowd(40, 200), (16, 48)),  # enough of both: a quarter
        (crowd(4, 200), (5, 59)),  # background takes the places that foreground leaves
        (crowd(40, 10), (16, 10)),  # foreground does not take those of background: fewer regions
        (crowd(3, 7), (4, 7)),
        (crowd(40, 0), (16, 0)),
        (crowd(0, 0), (1, 0)),  # the object alone
    ],
)
def test_64_regions_of_an_image_16_of_them_foreground(preset, scene, expected):
    sampled = sample(HEADS[preset, None], scene)
    foreground = int((sampled.gt_classes < NUM_CLASSES).sum())
    assert (foreground, len(sampled) - foreground) == expected
    assert_sampled_by_the_rule(sampled, scene, BACKGROUND_FROM[preset], 64)


@pytest.mark.parametrize("preset, expected", [("paper", 0), ("pyfrcnn", 30)])
def test_regions_that_overlap_nothing(preset, expected):
    sampled = sample(HEADS[preset, None], crowd(0, 0, nothing=30))
    assert int((sampled.gt_classes == NUM_CLASSES).sum()) == expected
    nothing_at_all = Scene(crowd(0, 0, nothing=30).regions, np.zeros((0, 4)), ())
    sampled = sample(HEADS[preset, None], nothing_at_all)
    assert sampled.gt_classes.tolist() == [NUM_CLASSES] * expected


@pytest.mark.parametrize(
    "box, paper, pyfrcnn",
    [
        ([0, 0, 20, 40], 1, 1),  # overlap 0.5 exactly: foreground
        ([0, 0, 20, 41], NUM_CLASSES, NUM_CLASSES),
        ([0, 0, 20, 200], NUM_CLASSES, NUM_CLASSES),  # overlap 0.1 exactly: background
        ([0, 0, 20, 201], IGNORED, NUM_CLASSES),
        ([20, 0, 40, 20], IGNORED, NUM_CLASSES),  # touches
    ],
)
def test_ends_of_the_ranges(box, paper, pyfrcnn):
    scene = Scene(np.array([box], float), np.array([[0.0, 0.0, 20.0, 20.0]]), (1,))
    for preset, expected in (("paper", paper), ("pyfrcnn", pyfrcnn)):
        ((label, _),) = label_regions(
            [box], scene.objects, scene.classes, NUM_CLASSES, background_from=BACKGROUND_FROM[preset]
        )
        sampled = sample(HEADS[preset, None], scene)
        found = dict(zip(map(tuple, sampled.proposal_boxes.tensor.tolist()), sampled.gt_classes.tolist()))
        assert label == found.get(tuple(map(float, box)), IGNORED) == expected


def test_of_equal_overlaps_the_first_object_counts():
    scene = Scene(np.array([[10.0, 0, 30, 20]]), np.array([[5.0, 0, 25, 20], [15, 0, 35, 20]]), (2, 0))
    sampled = sample(HEADS["paper", None], scene)
    (row,) = (sampled.proposal_boxes.tensor == torch.tensor([10.0, 0, 30, 20])).all(dim=1).nonzero()
    assert sampled.gt_classes[row].item() == 2
    assert sampled.gt_boxes.tensor[row].tolist() == [[5.0, 0, 25, 20]]


def test_every_candidate_has_its_turn():
    """Sampling is random and without preference: 32 foreground candidates for 16 places."""
    scene = crowd(31, 96)
    scene = scene._replace(regions=scene.regions + np.linspace(0.001, 0.01, len(scene.regions))[:, None])
    torch.manual_seed(0)
    seen = Counter()
    for _ in range(100):
        seen.update(map(tuple, sample(HEADS["paper", None], scene).proposal_boxes.tensor.tolist()))
    assert len(seen) == 128
    assert all(25 <= times <= 75 for times in seen.values())
