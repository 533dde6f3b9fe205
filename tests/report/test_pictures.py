"""Which images are shown, and what is drawn on them."""

import json

from frcnn_alt.report.pictures import choose_images, save_pictures

import numpy as np
import pytest
from PIL import Image


def detections_of(run):
    return str(run / "inference" / "toys_test" / "detections.jsonl")


def test_best_and_worst(finished_run):
    """By construction: index % 3 == 1 misses one of two objects (or none of one), index % 4 == 3 has a wrong one."""
    best, worst = choose_images(detections_of(finished_run), 3)
    # Without error: 0, 2, 5, 6, 8; of these 2, 5, 8 have two objects that count and the others one.
    assert sorted(best) == ["002", "005", "008"]
    # F: 7 misses one of two and has a wrong one, 2/4; 1 and 4 miss one of two, 2/3; 3 has one right, one wrong, 2/3.
    assert worst == ["007", "001", "003"]


def test_no_image_is_among_both(finished_run):
    best, worst = choose_images(detections_of(finished_run), 100)
    assert sorted(best) == ["000", "002", "005", "006", "008"] and worst == ["007", "001", "003", "004"]
    best, worst = choose_images(detections_of(finished_run), 5)
    assert sorted(best) == ["000", "002", "005", "006", "008"] and sorted(worst) == ["001", "003", "004", "007"]


def keep_images(run, *numbers):
    """Leave only these images in the run's detections."""
    with open(detections_of(run)) as file:
        lines = file.readlines()
    with open(detections_of(run), "w") as file:
        file.writelines([lines[0], *(lines[1 + number] for number in numbers)])


@pytest.mark.parametrize(
    "images, best, worst",
    [
        ((1, 3, 4, 7), ["001", "004"], ["007", "003"]),  # all have errors: half of them, and the worse half
        ((1, 4, 7), ["001", "004"], ["007"]),  # the better half has one more
        ((0, 2, 6, 7), ["002", "000", "006"], ["007"]),  # those without error are no one's worst
        ((0, 2, 6, 8), ["002", "008", "000", "006"], []),
        ((3,), ["003"], []),
    ],
)
def test_few_images_are_shared_between_best_and_worst(images, best, worst, finished_run):
    keep_images(finished_run, *images)
    assert choose_images(detections_of(finished_run), 6) == (best, worst)


def test_an_image_of_which_nothing_is_found_is_not_among_the_best(finished_run):
    path = detections_of(finished_run)
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    for line in lines[1:]:
        line["scores"] = [0.1] * len(line["scores"])
    with open(path, "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    best, worst = choose_images(path, 6)
    assert best == [] and len(worst) == 6


def test_none_without_error_is_among_the_worst(finished_run):
    keep_images(finished_run, 0, 2, 5, 6, 7, 8)
    assert choose_images(detections_of(finished_run), 2)[1] == ["007"]


def test_pictures_are_saved_with_truth_beside_detections(finished_run, tmp_path):
    best, worst, problems = save_pictures(detections_of(finished_run), str(tmp_path / "p"), count=2)
    assert problems == []
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == sorted(p.file_name for p in [*best, *worst])
    assert worst[0].file_name == "worst_1_007.jpg"
    assert worst[0].caption == "1 of 2 objects found, 1 wrong, F = 0.50"
    saved = Image.open(tmp_path / "p" / "worst_1_007.jpg")
    assert saved.width > 2 * worst[0].truth.width and worst[0].truth.width / worst[0].truth.height == 80 / 60


def test_image_that_cannot_be_read_is_named_and_the_others_are_drawn(finished_run, tmp_path):
    lost = finished_run / "images" / "007.png"
    lost.unlink()
    best, worst, problems = save_pictures(detections_of(finished_run), str(tmp_path / "p"), count=2)
    assert len(problems) == 1 and str(lost) in problems[0]
    assert [picture.image_id for picture in worst] == ["001"]


def test_photographs_turned_by_exif(finished_run, tmp_path):
    """The boxes are in the frame that detectron2's reader gives, which obeys the EXIF orientation."""
    path = finished_run / "images" / "turned.jpg"
    image = Image.fromarray(np.zeros((80, 60, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    with open(detections_of(finished_run)) as file:
        lines = [json.loads(line) for line in file]
    for line in lines[1:]:
        line["file_name"] = str(path)
    with open(detections_of(finished_run), "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    best, _, _ = save_pictures(detections_of(finished_run), str(tmp_path / "p"), count=1)
    assert best[0].truth.width / best[0].truth.height == 80 / 60
