"""Matching of an image's detections to its objects, on cases worked out by hand."""

from frcnn_alt.report import ReportError
from frcnn_alt.report.detections import ImageDetections, image_quality, read_detections

import numpy as np
import pytest

A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def image(detections, objects):
    """`detections` are (box, score, label), `objects` (box, label, difficult)."""
    boxes, scores, labels = zip(*detections) if detections else ([], [], [])
    gt_boxes, gt_labels, difficult = zip(*objects) if objects else ([], [], [])
    return ImageDetections(
        image_id="1",
        file_name="1.jpg",
        width=100,
        height=100,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.array(scores, dtype=np.float32),
        labels=np.array(labels, dtype=np.int64),
        gt_boxes=np.array(gt_boxes, dtype=np.float32).reshape(-1, 4),
        gt_labels=np.array(gt_labels, dtype=np.int64),
        gt_difficult=np.array(difficult, dtype=bool),
    )


@pytest.mark.parametrize(
    "detections, objects, missed, wrong, f_measure",
    [
        # perfect
        ([(A, 0.9, 0), (B, 0.8, 1)], [(A, 0, False), (B, 1, False)], 0, 0, 1.0),
        # nothing there, nothing said
        ([], [], 0, 0, 1.0),
        # below the score threshold counts as not said
        ([(A, 0.59, 0)], [(A, 0, False)], 1, 0, 0.0),
        # the right place with the wrong class: a miss and a wrong one
        ([(A, 0.9, 1)], [(A, 0, False)], 1, 1, 0.0),
        # a second detection of the same object is wrong: F = 2 / (2 + 1)
        ([(A, 0.9, 0), (A, 0.8, 0)], [(A, 0, False)], 0, 1, 2 / 3),
        # difficult: neither its detection nor its miss counts
        ([(A, 0.9, 0), (B, 0.8, 0)], [(A, 0, True), (B, 0, False)], 0, 0, 1.0),
        ([(B, 0.8, 0)], [(A, 0, True), (B, 0, False)], 0, 0, 1.0),
        # one of two found, one wrong: F = 2 / (2 + 1 + 1)
        ([(A, 0.9, 0), (FAR, 0.9, 0)], [(A, 0, False), (B, 0, False)], 1, 1, 0.5),
        # IoU 0.5 is enough, a little less is not
        ([([0, 0, 10, 5], 0.9, 0)], [(A, 0, False)], 0, 0, 1.0),
        ([([0, 0, 10, 4.9], 0.9, 0)], [(A, 0, False)], 1, 1, 0.0),
    ],
)
def test_quality(detections, objects, missed, wrong, f_measure):
    quality = image_quality(image(detections, objects), score_threshold=0.6)
    assert (quality.num_missed, quality.num_wrong) == (missed, wrong)
    assert quality.f_measure == pytest.approx(f_measure)


def test_higher_score_is_served_first():
    quality = image_quality(image([([0, 0, 10, 8], 0.7, 0), (A, 0.9, 0)], [(A, 0, False)]), score_threshold=0.6)
    assert quality.correct.tolist() == [False, True]
    assert quality.mean_iou == 1.0


def test_reads_what_was_written(finished_run):
    path = finished_run / "inference" / "toys_test" / "detections.jsonl"
    classes, images = read_detections(str(path))
    images = list(images)
    assert classes == ["circle", "ring & <star>", "square"]
    assert [record.image_id for record in images] == [f"{i:03d}" for i in range(9)]
    assert images[2].gt_boxes.tolist()[1] == [30, 24, 56, 50] and images[2].gt_difficult.tolist() == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("text", ["{", '{"image_id": 1}\n'])
def test_damaged_line_is_named(finished_run, text):
    path = finished_run / "inference" / "toys_test" / "detections.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]) + text)
    with pytest.raises(ReportError, match="detections.jsonl, line 4 is damaged"):
        list(read_detections(str(path))[1])
