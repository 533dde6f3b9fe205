"""Everything malformed is found at once, and either stops or is left out everywhere."""

import json
import logging
import shutil

from frcnn_alt import get_cfg
from frcnn_alt.data import DatasetError, check_datasets, load_dataset_dicts, register_datasets
from frcnn_alt.data.coco_json import clean_coco_json
from frcnn_alt.data.problems import Problem, describe_problems

import pytest
from voc_files import voc_annotation, write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")

GOOD = [("dog", 2, 2, 30, 30)]


def bad_folder(voc_folder):
    """One of each kind, and two good images."""
    names = ("good", "fine", "gone", "broken", "resized", "cut", "text", "outside", "flat", "zero", "unknown")
    root = voc_folder(dict.fromkeys(names, GOOD), classes=["dog"])
    (root / "JPEGImages" / "gone.jpg").unlink()
    (root / "Annotations" / "broken.xml").write_text("<annotation>")
    write_image(root / "JPEGImages" / "resized.jpg", (40, 60))
    cut = root / "JPEGImages" / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (root / "JPEGImages" / "text.jpg").write_text("no image")
    boxes = {
        "outside": ("dog", 50, 2, 70, 30),
        "flat": ("dog", 5, 2, 5, 30),
        "zero": ("dog", 0, 2, 5, 30),
        "unknown": ("cow", 1, 2, 5, 30),
    }
    for image_id, box in boxes.items():
        (root / "Annotations" / f"{image_id}.xml").write_text(voc_annotation([box, *GOOD], (60, 40)))
    return root


FILES = {
    "missing image": "JPEGImages/gone.jpg",
    "XML that does not parse": "Annotations/broken.xml",
    "size that disagrees with the image": "JPEGImages/resized.jpg",
    "unreadable image": "JPEGImages/cut.jpg",
    "box outside the image": "Annotations/outside.xml",
    "zero-size box": "Annotations/flat.xml",
    "0-based corner": "Annotations/zero.xml",
    "unknown class": "Annotations/unknown.xml",
}


def registered(root, tmp_path, policy="stop", **keys):
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(root)
    cfg.DATASETS.MALFORMED = policy
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    for key, value in keys.items():
        cfg.DATASETS.VOC_LAYOUT[key] = value
    register_datasets(cfg)
    return cfg


def test_stop_lists_all_of_it_with_files(voc_folder, tmp_path):
    root = bad_folder(voc_folder)
    cfg = registered(root, tmp_path)
    with pytest.raises(DatasetError) as error:
        check_datasets(cfg)
    message = str(error.value)
    for kind, file in FILES.items():
        assert any(kind in line and f"{root}/{file}" in line for line in message.splitlines()), kind
    assert f"{root}/JPEGImages/text.jpg" in message
    assert message.startswith("9 problems")  # the same files in trainval and test are reported once
    assert "leave_out" in message
    assert (tmp_path / "output" / "malformed.txt").read_text().count("\n") == 10


def test_leave_out_is_what_training_and_evaluation_then_see(voc_folder, tmp_path, caplog):
    cfg = registered(bad_folder(voc_folder), tmp_path, "leave_out")
    with caplog.at_level(logging.WARNING, logger="frcnn_alt"):
        problems = check_datasets(cfg)
    assert "4 boxes and 5 images" in caplog.text
    assert set(FILES) == {problem.kind for problem in problems["tiny_trainval"]}
    for name in ("tiny_trainval", "tiny_test"):
        dicts = load_dataset_dicts(name)
        assert [d["image_id"] for d in dicts] == ["good", "fine", "outside", "flat", "zero", "unknown"]
        assert all(len(record["annotations"]) == 1 for record in dicts)


def test_leave_out_holds_without_the_check_too(voc_folder, tmp_path):
    cfg = registered(bad_folder(voc_folder), tmp_path, "leave_out")
    assert len(load_dataset_dicts(cfg.DATASETS.TEST[0])) == 6


def test_loading_stops_at_malformed_annotations_even_unchecked(voc_folder, tmp_path):
    cfg = registered(bad_folder(voc_folder), tmp_path)
    with pytest.raises(DatasetError, match="unknown class"):
        load_dataset_dicts(cfg.DATASETS.TRAIN[0])


def test_good_data_passes_and_removes_the_old_list(voc_folder, tmp_path):
    cfg = registered(voc_folder({"a": GOOD, "b": []}), tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "malformed.txt").write_text("of an earlier run")
    assert check_datasets(cfg) == {"tiny_trainval": [], "tiny_test": []}
    assert not (tmp_path / "output" / "malformed.txt").exists()


def test_what_leaves_nothing_stops_in_any_case(voc_folder, tmp_path):
    root = voc_folder({"a": GOOD})
    cfg = registered(root, tmp_path, "leave_out")
    (root / "JPEGImages" / "a.jpg").write_text("no image")
    with pytest.raises(DatasetError, match="no image is left in tiny_trainval"):
        check_datasets(cfg)
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(DatasetError, match="missing split file"):
        check_datasets(cfg)


DIFFICULT = [(*GOOD[0], 1)]


@pytest.mark.parametrize("objects", [DIFFICULT, []], ids=["difficult", "no objects"])
def test_a_training_set_without_a_usable_box(objects, voc_folder, tmp_path):
    splits = {"trainval": ["a"], "test": ["b"]}
    cfg = registered(voc_folder({"a": objects, "b": GOOD}, splits=splits), tmp_path, CLASSES=("dog",))
    with pytest.raises(DatasetError, match="No image of tiny_trainval has a box"):
        check_datasets(cfg)
    check_datasets(cfg, cfg.DATASETS.TEST)  # what is only evaluated needs no training set


def test_one_box_of_all_training_sets_is_enough(voc_folder, tmp_path):
    splits = {"train": ["a"], "val": ["b"], "test": ["a"]}
    cfg = registered(
        voc_folder({"a": DIFFICULT, "b": GOOD}, splits=splits),
        tmp_path,
        TRAIN_SPLITS=("train", "val"),
        CLASSES=("dog",),
    )
    check_datasets(cfg)


def test_a_training_set_whose_only_box_is_left_out(voc_folder, tmp_path):
    root = voc_folder({"a": [("dog", 50, 2, 70, 30)]})
    with pytest.raises(DatasetError, match="1 problem in the data"):
        check_datasets(registered(root, tmp_path))
    with pytest.raises(DatasetError, match="(?s)box outside the image.*Without them: No image of tiny_trainval"):
        check_datasets(registered(root, tmp_path, "leave_out"))


def test_an_image_in_training_and_test_is_warned_of(voc_folder, tmp_path, caplog):
    apart = registered(voc_folder({"a": GOOD, "b": GOOD}, splits={"trainval": ["a"], "test": ["b"]}), tmp_path)
    with caplog.at_level(logging.WARNING, logger="frcnn_alt"):
        check_datasets(apart)
    assert caplog.text == ""
    shared = registered(voc_folder({"a": GOOD, "b": GOOD}, name="shared"), tmp_path)
    with caplog.at_level(logging.WARNING, logger="frcnn_alt"):
        check_datasets(shared)
    assert "2 images are both trained on and tested on" in caplog.text


def test_a_long_list_shows_every_kind():
    problems = [Problem("missing image", f"{i}.jpg") for i in range(400)] + [Problem("zero-size box", "last.xml")]
    text = describe_problems(problems, max_lines=50)
    assert len(text.splitlines()) <= 53
    assert "last.xml" in text and "... and 375 more: missing image" in text
    assert len(describe_problems(problems).splitlines()) == 402


def coco_config(tmp_path, policy):
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.jpg", (60, 40))
    write_image(tmp_path / "images" / "small.jpg", (20, 20))
    images = [
        {"id": i, "file_name": f, "width": 60, "height": 40} for i, f in enumerate(["a.jpg", "gone.jpg", "small.jpg"])
    ]
    boxes = [
        (0, 1, [1, 1, 10, 10]),
        (0, 1, [50, 1, 20, 10]),
        (0, 1, [5, 5, 0, 10]),
        (0, 9, [5, 5, 10, 10]),
        (0, 1, []),
        (77, 1, [5, 5, 10, 10]),
        (1, 1, [1, 1, 10, 10]),
        (2, 1, [1, 1, 10, 10]),
        (0, 1, [20.5, 5, 39.51, 10]),  # 0.01 pixels over: rounding
    ]
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "bbox": b, "iscrowd": 0, "area": 1}
        for n, (i, c, b) in enumerate(boxes)
    ]
    contents = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "bad.json").write_text(json.dumps(contents))
    cfg = get_cfg()
    cfg.DATASETS.COCO_JSON.TRAIN_JSON = str(tmp_path / "bad.json")
    cfg.DATASETS.COCO_JSON.TRAIN_IMAGES = str(tmp_path / "images")
    cfg.DATASETS.MALFORMED = policy
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    register_datasets(cfg)
    return cfg


def test_coco_json_is_checked_the_same_way(tmp_path):
    cfg = coco_config(tmp_path, "stop")
    with pytest.raises(DatasetError) as error:
        check_datasets(cfg)
    kinds = [
        "box outside the image",
        "zero-size box",
        "unknown class",
        "corner that is not a number",
        "annotation without image",
        "missing image",
        "size that disagrees with the image",
    ]
    assert str(error.value).startswith("7 problems")
    for kind in kinds:
        assert f"1 x {kind}" in str(error.value)
    with pytest.raises(DatasetError, match="annotation 3 of image 0: category_id 9"):
        load_dataset_dicts(cfg.DATASETS.TRAIN[0])


def test_coco_json_without_what_is_malformed(tmp_path):
    cfg = coco_config(tmp_path, "leave_out")
    check_datasets(cfg)
    dicts = load_dataset_dicts(cfg.DATASETS.TRAIN[0])
    assert [record["image_id"] for record in dicts] == [0]
    assert [annotation["bbox"] for annotation in dicts[0]["annotations"]] == [[1, 1, 10, 10], [20.5, 5, 39.51, 10]]
    cleaned = clean_coco_json(cfg.DATASETS.COCO_JSON.TRAIN_JSON, cfg.DATASETS.COCO_JSON.TRAIN_IMAGES).contents
    assert {image["id"] for image in cleaned["images"]} == {0, 2}
    assert {annotation["image_id"] for annotation in cleaned["annotations"]} == {0, 2}


def test_a_coco_json_that_is_none(tmp_path):
    cfg = coco_config(tmp_path, "leave_out")
    for text, kind in (
        ("{", "json that does not parse"),
        ("[]", "not a COCO json"),
        ('{"images": []}', "no annotations"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DatasetError, match=kind):
            check_datasets(cfg)
