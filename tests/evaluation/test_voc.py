"""VOC's metric against detectron2's own evaluator and small cases by hand; test_voc_oracle.py has the slow version."""

from frcnn_alt.data.voc_layout import read_voc_layout
from frcnn_alt.evaluation import VOCDetectionEvaluator, voc_average_precision

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances

CLASSES = ["ant", "bee", "cow"]
SIZE = (120, 90)


def instances(boxes, scores, labels):
    result = Instances((SIZE[1], SIZE[0]))
    result.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    result.scores = torch.tensor(scores, dtype=torch.float32)
    result.pred_classes = torch.tensor(labels, dtype=torch.int64)
    return {"instances": result}


def random_objects(rng, count):
    low = rng.integers(1, 60, (count, 2))
    high = low + rng.integers(10, 30, (count, 2))
    labels, difficult = rng.integers(0, 3, count), rng.random(count) < 0.25
    return [(CLASSES[c], *a, *b, int(d)) for a, b, c, d in zip(low.tolist(), high.tolist(), labels, difficult)]


def random_detections(rng, objects, scores):
    """Objects found more or less well, twice, as another class, and boxes anywhere; all on a grid of 0.1 pixels."""
    boxes, labels = [], []
    for name, xmin, ymin, xmax, ymax, _ in objects:
        for spread in (1, 3, 8):
            boxes.append(np.array([xmin - 1, ymin - 1, xmax, ymax]) + rng.normal(0, spread, 4))
            labels.append(CLASSES.index(name) if rng.random() < 0.8 else int(rng.integers(0, 3)))
    for _ in range(4):
        corner = rng.uniform(0, 60, 2)
        boxes.append(np.concatenate([corner, corner + rng.uniform(5, 30, 2)]))
        labels.append(int(rng.integers(0, 3)))
    return np.round(np.stack(boxes), 1), [scores.pop() for _ in boxes], labels


@pytest.fixture
def scene(voc_folder):
    rng = np.random.default_rng(3)
    images = {f"{i:03d}": random_objects(rng, int(rng.integers(0, 6))) for i in range(25)}
    root = voc_folder(images, size=SIZE)
    for image_id in images:  # detectron2's evaluator insists on tags that nobody uses
        path = root / "Annotations" / f"{image_id}.xml"
        path.write_text(path.read_text().replace("</name>", "</name><pose>Left</pose><truncated>0</truncated>"))
    # distinct scores of three decimals: how detectron2 orders equal ones is not defined
    scores = (rng.permutation(1000) / 1000).tolist()
    outputs = {image_id: instances(*random_detections(rng, objects, scores)) for image_id, objects in images.items()}
    return root, outputs


@pytest.mark.parametrize("year", [2007, 2012])
def test_agrees_with_detectron2(scene, own_catalogs, year):
    root, outputs = scene
    MetadataCatalog.get("scene").set(thing_classes=CLASSES, dirname=str(root), split="test", year=year)
    theirs = PascalVOCDetectionEvaluator("scene")
    dicts, problems = read_voc_layout(str(root), "test", CLASSES)
    assert problems == []
    ours = VOCDetectionEvaluator("scene", CLASSES, dicts, eleven_point=year == 2007)
    for evaluator in (theirs, ours):
        evaluator.reset()
        for image_id, output in outputs.items():
            evaluator.process([{"image_id": image_id}], [output])
    expected, found = theirs.evaluate()["bbox"], ours.evaluate()["bbox"]
    assert 20 < expected["AP50"] < 95 and expected["AP75"] < expected["AP50"]  # a scene that tells something
    for key in ("AP", "AP50", "AP75"):
        assert found[key] == pytest.approx(expected[key], abs=1e-6), key
    assert np.mean([found[f"AP50-{name}"] for name in CLASSES]) == pytest.approx(found["AP50"])


def one_class(detections, truth, threshold=0.5, eleven_point=True):
    """AP of one class in one image; a detection is (x1, y1, x2, y2, score), an object (x1, y1, x2, y2, difficult)."""
    boxes, objects = np.array(detections, float).reshape(-1, 5), np.array(truth, float).reshape(-1, 5)
    return voc_average_precision(
        {"a": (boxes[:, :4], boxes[:, 4])},
        {"a": (objects[:, :4], objects[:, 4].astype(bool))},
        np.array([threshold]),
        eleven_point,
    )[0]


LEFT, RIGHT = (0, 0, 20, 20), (50, 0, 70, 20)


def test_by_hand():
    assert one_class([(*LEFT, 0.9)], [(*LEFT, 0)]) == pytest.approx(1)
    # half of the objects found: recall 0.0 to 0.5 are six of the eleven points
    assert one_class([(*LEFT, 0.9)], [(*LEFT, 0), (*RIGHT, 0)]) == pytest.approx(6 / 11)
    assert one_class([(*LEFT, 0.9)], [(*LEFT, 0), (*RIGHT, 0)], eleven_point=False) == pytest.approx(0.5)
    # the second box on one object is false, and comes before the other object: precision 1, then 2/3
    twice = [(*LEFT, 0.9), (*LEFT, 0.8), (*RIGHT, 0.7)]
    assert one_class(twice, [(*LEFT, 0), (*RIGHT, 0)], eleven_point=False) == pytest.approx(0.5 + 0.5 * 2 / 3)
    # a difficult object is neither to be found nor wrong to find, however often
    found_difficult = [(*RIGHT, 0.9), (*RIGHT, 0.8), (*LEFT, 0.7)]
    assert one_class(found_difficult, [(*LEFT, 0), (*RIGHT, 1)]) == pytest.approx(1)
    assert one_class([], [(*LEFT, 0)]) == 0
    assert np.isnan(one_class([(*LEFT, 0.9)], [(*LEFT, 1)]))


def test_an_overlap_of_exactly_the_threshold_does_not_count():
    assert one_class([(0, 0, 20, 10, 0.9)], [(0, 0, 20, 20, 0)]) == 0
    assert one_class([(0, 0, 20, 10.01, 0.9)], [(0, 0, 20, 20, 0)]) == pytest.approx(1)


def test_scores_closer_than_a_thousandth_keep_their_order():
    detections = [(*RIGHT, 0.90001), (*LEFT, 0.90002)]
    assert one_class(detections, [(*LEFT, 0)], eleven_point=False) == pytest.approx(1)
    assert one_class([(*RIGHT, 0.90002), (*LEFT, 0.90001)], [(*LEFT, 0)], eleven_point=False) == pytest.approx(0.5)


def record(image_id, *objects):
    annotations = [{"bbox": box, "bbox_mode": 0, "category_id": label, "difficult": 0} for box, label in objects]
    return {"image_id": image_id, "file_name": f"{image_id}.jpg", "annotations": annotations}


def test_images_without_detections_and_classes_without_objects(caplog):
    evaluator = VOCDetectionEvaluator("set", CLASSES, [record("a", (LEFT, 0)), record("b", (LEFT, 0), (RIGHT, 1))])
    evaluator.process([{"image_id": "a"}], [instances([LEFT], [0.9], [0])])
    evaluator.process([{"image_id": "b"}], [instances([], [], [])])
    with caplog.at_level("WARNING"):
        result = evaluator.evaluate()["bbox"]
    assert result["AP50-ant"] == pytest.approx(100 * 6 / 11)
    assert result["AP50-bee"] == 0
    assert np.isnan(result["AP50-cow"]) and "cow" in caplog.text
    assert result["AP50"] == pytest.approx(100 * 3 / 11)
    evaluator.reset()
    evaluator.process([{"image_id": "a"}], [instances([LEFT], [0.9], [0])])
    with caplog.at_level("WARNING"):
        evaluator.evaluate()
    assert "1 of 2 images of set were not shown" in caplog.text


def test_what_is_not_a_detection_or_not_of_the_data_set_is_refused():
    evaluator = VOCDetectionEvaluator("set", CLASSES, [record("a")])
    with pytest.raises(ValueError, match="proposals but no 'instances'.*proposal_recall"):
        evaluator.process([{"image_id": "a"}], [{"proposals": None}])
    with pytest.raises(ValueError, match="'b'.*is not in set"):
        evaluator.process([{"image_id": "b", "file_name": "b.jpg"}], [instances([], [], [])])
