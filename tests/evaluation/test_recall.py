"""Recall against a slow version written from the rule, and small cases worked out by hand."""

import logging
import math

from frcnn_alt.evaluation.recall import matched_overlaps, proposal_recall
from frcnn_alt.proposals import ProposalSet, ProposalSetError, ProposalSetWriter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def slow_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def slow_matched_overlaps(boxes, gt_boxes):
    """The best pair of all, then the best pair of what is left, until boxes or objects are used up."""
    pairs = {(b, g): slow_iou(boxes[b], gt_boxes[g]) for b in range(len(boxes)) for g in range(len(gt_boxes))}
    matched = [0.0] * len(gt_boxes)
    while pairs:
        (box, gt), overlap = max(pairs.items(), key=lambda item: item[1])
        matched[gt] = overlap
        pairs = {pair: value for pair, value in pairs.items() if pair[0] != box and pair[1] != gt}
    return matched


def random_boxes(rng, count, size=100.0):
    corners = rng.uniform(0, size, size=(count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


@given(st.integers(0, 40), st.integers(0, 12), st.integers(0, 10**6))
def test_rules_against_slow_versions(num_boxes, num_gt, seed):
    rng = np.random.default_rng(seed)
    boxes, gt_boxes = random_boxes(rng, num_boxes), random_boxes(rng, num_gt)
    one_to_one = matched_overlaps(boxes, gt_boxes)
    np.testing.assert_allclose(one_to_one, slow_matched_overlaps(boxes.tolist(), gt_boxes.tolist()), atol=1e-5)
    maximum = matched_overlaps(boxes, gt_boxes, rule="maximum")
    slow = [max((slow_iou(b, g) for b in boxes.tolist()), default=0.0) for g in gt_boxes.tolist()]
    np.testing.assert_allclose(maximum, slow, atol=1e-5)
    assert (one_to_one <= maximum).all()


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


def write(path, images):
    with ProposalSetWriter(path, "toys") as writer:
        for image_id, (boxes, scores) in images.items():
            writer.add(image_id, boxes, scores)
    return ProposalSet(path)


def test_recall_against_slow_version(tmp_path):
    rng = np.random.default_rng(3)
    images, dicts = {}, []
    for image_id in range(12):
        gt_boxes = random_boxes(rng, rng.integers(0, 6))
        near = np.repeat(gt_boxes, 6, axis=0) + rng.normal(scale=3, size=(6 * len(gt_boxes), 4)).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        boxes = np.concatenate([near, random_boxes(rng, rng.integers(0, 20))])
        images[image_id] = boxes, rng.normal(size=len(boxes))
        dicts.append(make_dict(image_id, gt_boxes.tolist()))
    results = proposal_recall(write(tmp_path / "set", images), dicts, limits=(3, 10, 1000))

    expected = {"proposals_per_image": np.mean([len(boxes) for boxes, _ in images.values()])}
    for limit in (3, 10, 1000):
        matched = []
        for image in dicts:
            boxes, scores = images[image["image_id"]]
            best = [boxes[row].tolist() for row in np.argsort(-scores)[:limit]]
            matched += slow_matched_overlaps(best, [a["bbox"] for a in image["annotations"]])
        recalls = []
        for percent in (50, 55, 60, 65, 70, 75, 80, 85, 90, 95):
            recalls.append(100.0 * sum(overlap >= percent / 100 for overlap in matched) / len(matched))
            expected[f"recall{percent}@{limit}"] = recalls[-1]
        expected[f"AR@{limit}"] = sum(recalls) / 10
    assert results == pytest.approx(expected, abs=1e-4)
    assert 5 < results["AR@3"] < results["AR@10"] < results["AR@1000"] < 95


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
