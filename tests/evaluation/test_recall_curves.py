"""Recall over IoU by object size against the oracle, against detectron2's own routine, and worked out by hand."""

import json
import math

from frcnn_alt import get_cfg
from frcnn_alt.data import load_dataset_dicts, register_datasets
from frcnn_alt.evaluation import proposal_recall, recall_curves
from frcnn_alt.proposals import ProposalSetError

import numpy as np
import pytest
import torch
from detectron2.evaluation.coco_evaluation import _evaluate_box_proposals
from detectron2.structures import Boxes, Instances
from oracles.proposal_recall import covered, maximum_overlaps, one_to_one_overlaps, share
from proposal_sets import write
from pycocotools.coco import COCO
from voc_files import write_image

SUFFIXES = {"all": "", "small": "s", "medium": "m", "large": "l"}
LIMITS = (4, 20, 60)


def scene(rng, width=500, height=400):
    """Objects of all sizes as (x1, y1, x2, y2), and boxes around some of them, with scores of which many are equal."""
    corners = rng.uniform(0, (width - 200, height - 200), (rng.integers(1, 7), 2))
    objects = np.concatenate([corners, corners + rng.choice([20, 60, 150], (len(corners), 1)) * rng.uniform(1, 1.3)], 1)
    near = np.repeat(objects, 5, axis=0) + rng.normal(scale=5, size=(5 * len(objects), 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    boxes = np.concatenate([near, objects[:1] + rng.uniform(0, 60, (rng.integers(1, 9), 1))]).astype(np.float32)
    return objects.round().tolist(), boxes, rng.integers(0, 7, len(boxes)).astype(np.float32)


@pytest.fixture
def coco(tmp_path, own_catalogs):
    """(data set name, proposal set, images of the oracle); areas are of masks: less than of the boxes."""
    rng = np.random.default_rng(7)
    (tmp_path / "images").mkdir()
    images, annotations, proposals, scenes = [], [], {}, []
    for image_id in range(1, 13):
        name = f"{image_id}.jpg"
        write_image(tmp_path / "images" / name, (500, 400))
        images.append({"id": image_id, "file_name": name, "width": 500, "height": 400})
        objects, boxes, scores = scene(rng)
        areas = [(x2 - x1) * (y2 - y1) * float(rng.choice([0.2, 1.0])) for x1, y1, x2, y2 in objects]
        crowd = [0, 0, 300, 300]
        for (x1, y1, x2, y2), area, is_crowd in zip([*objects, crowd], [*areas, 9e4], [0] * len(objects) + [1]):
            about = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": is_crowd}
            annotations.append({**about, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area})
        proposals[image_id] = boxes, scores
        scenes.append((boxes.tolist(), scores.tolist(), objects, areas))
    contents = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}], "info": {}}
    (tmp_path / "toys.json").write_text(json.dumps(contents))
    cfg = get_cfg()
    for side in ("TRAIN", "TEST"):
        cfg.DATASETS.COCO_JSON[f"{side}_JSON"] = str(tmp_path / "toys.json")
        cfg.DATASETS.COCO_JSON[f"{side}_IMAGES"] = str(tmp_path / "images")
    register_datasets(cfg)
    return cfg.DATASETS.TEST[0], write(tmp_path / "set", proposals), scenes, tmp_path / "toys.json"


@pytest.mark.parametrize("rule, overlaps", [("one_to_one", one_to_one_overlaps), ("maximum", maximum_overlaps)])
def test_every_point_of_every_curve_is_the_oracles(coco, rule, overlaps):
    name, proposals, scenes, _ = coco
    curves = recall_curves(proposals, load_dataset_dicts(name), LIMITS, rule)
    assert (curves.rule, curves.limits, len(curves.thresholds), curves.num_images) == (rule, LIMITS, 51, 12)
    for size, suffix in SUFFIXES.items():
        for row, limit in enumerate(LIMITS):
            ious = covered(scenes, limit, overlaps, suffix)
            expected = [share(ious, percent / 100) for percent in range(50, 101)]
            np.testing.assert_allclose(curves.recall[size][row], expected, atol=1e-9)
            average = np.mean([share(ious, percent / 100) for percent in range(50, 100, 5)])
            assert curves.average_recall[size][row] == pytest.approx(average)
            assert curves.num_objects[size] == len(ious)
            assert curves.at(limit, 0.7, size) == pytest.approx(share(ious, 0.7))
    assert min(curves.num_objects.values()) >= 3  # of every size
    assert 0.1 < curves.average_recall["all"][0] < curves.average_recall["all"][-1] < 0.9


def test_coco_data_give_what_detectron2_measures(coco):
    name, proposals, _, json_file = coco
    predictions = []
    for image_id in range(1, 13):
        boxes, scores = map(torch.from_numpy, proposals[image_id])
        instances = Instances((400, 500), proposal_boxes=Boxes(boxes), objectness_logits=scores)
        # detectron2 sorts once more, and not stably
        instances.objectness_logits = torch.arange(len(boxes), 0, -1, dtype=torch.float32)
        predictions.append({"image_id": image_id, "proposals": instances})
    api = COCO(str(json_file))
    curves = recall_curves(proposals, load_dataset_dicts(name), LIMITS)
    results = proposal_recall(proposals, load_dataset_dicts(name), LIMITS)
    for size, suffix in SUFFIXES.items():
        for row, limit in enumerate(LIMITS):
            thresholds = torch.tensor(curves.thresholds)
            theirs = _evaluate_box_proposals(predictions, api, thresholds, area=size, limit=limit)
            np.testing.assert_allclose(curves.recall[size][row], theirs["recalls"].numpy(), atol=1e-6)
            assert curves.num_objects[size] == theirs["num_pos"]
            average = _evaluate_box_proposals(predictions, api, area=size, limit=limit)["ar"]
            assert results[f"AR{suffix}@{limit}"] == pytest.approx(100 * float(average), abs=1e-3)


def voc_dict(image_id, *objects, **extra):
    return {
        "image_id": image_id,
        "annotations": [{"bbox": b, "bbox_mode": 0, "category_id": 0, **extra} for b in objects],
    }


def test_voc_objects_are_as_large_as_their_boxes(voc_folder, tmp_path, own_catalogs):
    """Corners in XML are inclusive and count from 1: an object from 1 to 32 is 32 pixels wide, small and medium."""
    objects = [("dog", 1, 1, 32, 32), ("dog", 41, 1, 71, 32), ("dog", 1, 41, 96, 136), ("dog", 101, 1, 197, 96)]
    folder = voc_folder({"a": [*objects, ("dog", 101, 101, 110, 110, 1)]}, size=(200, 140))
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(folder)
    register_datasets(cfg)
    boxes = [[0, 0, 32, 32], [0, 40, 96, 136]]
    curves = recall_curves(write(tmp_path / "set", {"a": (boxes, [2, 1])}), load_dataset_dicts("tiny_test"), (1, 2))
    assert curves.num_objects == {"all": 4, "small": 2, "medium": 2, "large": 2}
    for size, expected in {"all": (0.25, 0.5), "small": (0.5, 0.5), "medium": (0.5, 1), "large": (0, 0.5)}.items():
        assert [curves.at(limit, 1.0, size) for limit in (1, 2)] == list(expected)


def test_objects_of_other_sizes_take_no_box_away(tmp_path):
    """One box, best for the large object; alone, the medium one has it too."""
    proposals = write(tmp_path / "set", {0: ([[0, 0, 100, 100]], [1])})
    curves = recall_curves(proposals, [voc_dict(0, [0, 0, 100, 97], [0, 0, 95, 96])], (1,))
    assert [curves.at(1, 0.9, size) for size in ("all", "large", "medium")] == [0.5, 1.0, 1.0]


def test_a_size_without_objects_is_nan_without_a_warning(tmp_path, caplog):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 10]], [1]), 1: ([], [])})
    dicts = [voc_dict(0, [0, 0, 10, 10]), voc_dict(1, [0, 0, 10, 10])]
    curves = recall_curves(proposals, dicts)
    assert np.isnan(curves.recall["large"]).all() and math.isnan(curves.average_recall["medium"][0])
    assert (curves.recall["small"] == 0.5).all()  # what has no proposal at all is missed
    assert curves.proposals_per_image == 0.5
    assert not caplog.text
    assert math.isnan(proposal_recall(proposals, dicts)["ARl@300"])


def test_thresholds_of_ones_own_and_what_was_not_measured(tmp_path):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 57]], [1])})
    dicts = [voc_dict(0, [0, 0, 10, 100])]
    curves = recall_curves(proposals, dicts, (1,), thresholds=np.arange(0.1, 1.0, 0.01))
    assert curves.at(1, 0.57) == 1 and curves.at(1, 0.58) == 0  # an IoU of exactly 0.57
    with pytest.raises(ValueError, match="not measured for 2 proposals"):
        curves.at(2, 0.5)
    with pytest.raises(ValueError, match="at IoU 0.05"):
        curves.at(1, 0.05)


def test_what_cannot_be_measured_is_said(tmp_path):
    proposals = write(tmp_path / "set", {0: ([[0, 0, 10, 10]], [1])})
    with pytest.raises(ValueError, match="no matching rule 'greedy'; it is one of one_to_one, maximum"):
        recall_curves(proposals, [voc_dict(0, [0, 0, 10, 10])], rule="greedy")
    for limits in ((), (300, 0)):
        with pytest.raises(ValueError, match="from 1 on"):
            recall_curves(proposals, [voc_dict(0, [0, 0, 10, 10])], limits)
    with pytest.raises(ProposalSetError, match="lacks 1 of 1 images: 5"):
        recall_curves(proposals, [voc_dict(5, [0, 0, 10, 10])])
