"""Recall against the oracle, and small cases worked out by hand."""

import logging
import math

from frcnn_alt.evaluation.recall import matched_overlaps, proposal_recall
from frcnn_alt.proposals import ProposalSetError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.proposal_recall import maximum_overlaps, one_to_one_overlaps, recalls
from proposal_sets import write


def random_boxes(rng, count, size=100.0):
    corners = rng.uniform(0, size, size=(count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


@given(st.integers(0, 40), st.integers(0, 12), st.integers(0, 10**6))
def test_any_boxes_follow_both_rules(num_boxes, num_gt, seed):
    rng = np.random.default_rng(seed)
    boxes, gt_boxes = random_boxes(rng, num_boxes), random_boxes(rng, num_gt)
    one_to_one = matched_overlaps(boxes, gt_boxes)
    np.testing.assert_allclose(one_to_one, one_to_one_overlaps(boxes.tolist(), gt_boxes.tolist()), atol=1e-5)
    maximum = matched_overlaps(boxes, gt_boxes, rule="maximum")
    np.testing.assert_allclose(maximum, maximum_overlaps(boxes.tolist(), gt_boxes.tolist()), atol=1e-5)
    assert (one_to_one <= maximum).all()


# On a coarse grid equal overlaps are the rule, and who is served first decides who gets something.
GRID_BOX = st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 6), st.integers(0, 2)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(GRID_BOX, max_size=9), st.lists(GRID_BOX, max_size=7))
def test_equal_overlaps_one_pixel_boxes_and_boxes_without_area(boxes, gt_boxes):
    arguments = np.array(boxes, np.float32), np.array(gt_boxes, np.float32)
    np.testing.assert_allclose(matched_overlaps(*arguments), one_to_one_overlaps(boxes, gt_boxes), rtol=1e-6)
    expected = maximum_overlaps(boxes, gt_boxes)
    np.testing.assert_allclose(matched_overlaps(*arguments, rule="maximum"), expected, rtol=1e-6)


def test_of_equals_the_first_object_gets_its_first_box():
    both = np.array([[0, 0, 10, 10], [10, 0, 20, 10]])
    middle = np.array([[0, 0, 20, 10], [0, 0, 20, 10]])  # each covers half of either object
    np.testing.assert_allclose(matched_overlaps(middle[:1], both), [0.5, 0])
    np.testing.assert_allclose(matched_overlaps(middle, both), [0.5, 0.5])
    # the first object could have had the second box as well, and takes the only one that its neighbour wants
    boxes = np.array([[0, 0, 20, 10], [-10, 0, 10, 10]])
    np.testing.assert_allclose(matched_overlaps(boxes, both), [0.5, 0])


def test_one_box_covers_one_object_only():
    gt_boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10]])
    box = np.array([[0, 0, 10, 10]])
    np.testing.assert_allclose(matched_overlaps(box, gt_boxes), [0.0, 1.0])  # the best covered object is served first
    np.testing.assert_allclose(matched_overlaps(box, gt_boxes, rule="maximum"), [0.9, 1.0])


def make_dict(image_id, boxes, **extra):
    return {
        "image_id": image_id,
        "annotations": [{"bbox": b, "bbox_mode": 0, "category_id": 0, **extra} for b in boxes],
    }


def expected_recalls(images, dicts, limits, overlaps=one_to_one_overlaps):
    """What ``proposal_recall`` has to return, in percent, by the oracle."""
    rows = []
    for image in dicts:
        boxes, scores = images[image["image_id"]]
        counted = [a["bbox"] for a in image["annotations"] if not a.get("difficult") and not a.get("iscrowd")]
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in counted]
        rows.append((np.array(boxes).tolist(), list(scores), counted, areas))
    expected = {"proposals_per_image": np.mean([len(boxes) for boxes, *_ in rows])}
    for limit in limits:
        for key, value in recalls(rows, limit, overlaps).items():
            expected[f"{key}@{limit}" if str(key).startswith("AR") else f"recall{key}@{limit}"] = value
    return expected


@pytest.mark.parametrize("rule, overlaps", [("one_to_one", one_to_one_overlaps), ("maximum", maximum_overlaps)])
def test_recall_of_several_images_and_limits(tmp_path, rule, overlaps):
    rng = np.random.default_rng(3)
    images, dicts = {}, []
    for image_id in range(12):
        gt_boxes = random_boxes(rng, rng.integers(0, 6))
        near = np.repeat(gt_boxes, 6, axis=0) + rng.normal(scale=3, size=(6 * len(gt_boxes), 4)).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        boxes = np.concatenate([near, random_boxes(rng, rng.integers(0, 20))])
        images[image_id] = boxes, rng.integers(0, 9, len(boxes))  # many scores are equal
        dicts.append(make_dict(image_id, gt_boxes.tolist()))
        dicts[-1]["annotations"] += make_dict(0, random_boxes(rng, 1).tolist(), difficult=1, iscrowd=1)["annotations"]
    limits = (3, 10, 1000)
    results = proposal_recall(write(tmp_path / "set", images), dicts, limits=limits, rule=rule)
    assert results == pytest.approx(expected_recalls(images, dicts, limits, overlaps), abs=1e-4, nan_ok=True)
    assert 5 < results["AR@3"] < results["AR@10"] < results["AR@1000"] < 95


@pytest.mark.parametrize("rule, overlaps", [("one_to_one", one_to_one_overlaps), ("maximum", maximum_overlaps)])
@given(st.lists(st.tuples(st.lists(st.tuples(GRID_BOX, st.integers(0, 3))), st.lists(GRID_BOX)), max_size=4), st.data())
def test_any_proposal_sets(tmp_path_factory, rule, overlaps, scene, data):
    scene = [*scene, ([((0, 0, 4, 2), 1)], [(0, 0, 4, 2)])]  # there is an object
    limits = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True))
    images = {n: ([box for box, _ in found], [score for _, score in found]) for n, (found, _) in enumerate(scene)}
    dicts = [make_dict(n, gt_boxes) for n, (_, gt_boxes) in enumerate(scene)]
    proposals = write(tmp_path_factory.getbasetemp() / "one set after another", images)
    results = proposal_recall(proposals, dicts, limits=limits, rule=rule)
    assert results == pytest.approx(expected_recalls(images, dicts, limits, overlaps), nan_ok=True)


def test_an_iou_equal_to_the_threshold_counts(tmp_path):
    for percent in (50, 55, 60, 65, 70, 75, 80, 85, 90, 95):
        proposals = write(tmp_path / str(percent), {0: ([[0, 0, 10, percent]], [1.0])})
        results = proposal_recall(proposals, [make_dict(0, [[0, 0, 10, 100]])], limits=(1,))
        assert results[f"recall{percent}@1"] == 100.0
        assert results["AR@1"] == pytest.approx(10 * ((percent - 50) / 5 + 1))


def test_difficult_and_crowd_objects_do_not_count(tmp_path):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 10]], [1.0])})
    counted = make_dict(0, [[0, 0, 10, 10]])
    for extra in ({"difficult": 1}, {"iscrowd": 1}):
        uncounted = make_dict(0, [[50, 50, 60, 60]], **extra)["annotations"]
        image = {"image_id": 0, "annotations": counted["annotations"] + uncounted}
        assert proposal_recall(proposals, [image])["AR@50"] == 100.0
    assert proposal_recall(proposals, [make_dict(0, [[0, 0, 10, 10], [50, 50, 60, 60]])])["AR@50"] == 50.0


def test_boxes_of_another_mode(tmp_path):
    proposals = write(tmp_path / "set", {0: ([[5, 5, 15, 25]], [1.0])})
    image = {"image_id": 0, "annotations": [{"bbox": [5, 5, 10, 20], "bbox_mode": 1, "category_id": 0}]}
    assert proposal_recall(proposals, [image])["recall95@50"] == 100.0


def test_objects_of_images_without_proposals_are_missed(tmp_path):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 10]], [1.0]), 1: ([], [])})
    dicts = [make_dict(0, [[0, 0, 10, 10]]), make_dict(1, [[0, 0, 10, 10]])]
    for rule in ("one_to_one", "maximum"):
        results = proposal_recall(proposals, dicts, rule=rule)
        assert results["recall50@300"] == 50.0
        assert results["proposals_per_image"] == 0.5


def test_rule_maximum_lets_one_box_cover_two_objects(tmp_path):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 10]], [1.0])})
    dicts = [make_dict(0, [[0, 0, 10, 10], [0, 0, 10, 9]])]
    assert proposal_recall(proposals, dicts)["recall75@50"] == 50.0
    assert proposal_recall(proposals, dicts, rule="maximum")["recall75@50"] == 100.0


def test_no_objects_give_nan_and_a_warning(tmp_path, caplog):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 10]], [1.0])})
    with caplog.at_level(logging.WARNING):
        results = proposal_recall(proposals, [{"image_id": 0}])
    assert math.isnan(results["recall50@300"]) and math.isnan(results["AR@2000"])
    assert results["proposals_per_image"] == 1.0
    assert "no ground-truth object" in caplog.text and "toys" in caplog.text


def test_image_that_the_set_lacks(tmp_path):
    proposals = write(tmp_path / "set", {0: ([], [])})
    with pytest.raises(ProposalSetError, match="lacks 1 of 2 images: 1"):
        proposal_recall(proposals, [make_dict(0, []), make_dict(1, [])])


def test_matching_does_not_change_the_boxes():
    boxes = random_boxes(np.random.default_rng(0), 30)
    before = boxes.copy()
    matched_overlaps(boxes, boxes[:5])
    np.testing.assert_array_equal(boxes, before)
