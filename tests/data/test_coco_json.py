"""COCO json files that hold anything anywhere: each fault is listed, and what detectron2 needs is filled in."""

import json

from frcnn_alt import get_cfg
from frcnn_alt.data import DatasetError, check_datasets, load_dataset_dicts, register_datasets
from frcnn_alt.data.coco_json import clean_coco_json

import pytest
from voc_files import write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")


def contents():
    """Images 1 and 2 with the sound annotations 11 and 12 of image 1, 21 of image 2; two categories."""
    boxes = {11: (1, 3, [2, 2, 20, 10]), 12: (1, 8, [5, 20, 30, 15]), 21: (2, 3, [0, 0, 60, 40])}
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 40} for i in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "iscrowd": 0, "area": 200}
            for n, (i, c, b) in boxes.items()
        ],
        "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


@pytest.fixture
def checked(tmp_path):
    """A function that writes `contents` with an entry changed, registers it with a policy, and checks it."""
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "2.jpg"):
        write_image(tmp_path / "images" / name, (60, 40))

    def check(change, policy):
        data = contents()
        change(data)
        path = tmp_path / "own.json"
        path.write_text(json.dumps(data))
        cfg = get_cfg()
        cfg.DATASETS.COCO_JSON.TRAIN_JSON = str(path)
        cfg.DATASETS.COCO_JSON.TRAIN_IMAGES = str(tmp_path / "images")
        cfg.DATASETS.MALFORMED, cfg.OUTPUT_DIR = policy, str(tmp_path / "output")
        register_datasets(cfg)
        return cfg, check_datasets(cfg)

    return check


def setting(*path_and_value):
    """A change: setting("images", 0, "width", None) sets the width of the first image."""
    *path, last, value = path_and_value

    def change(data):
        for key in path:
            data = data[key]
        data[last] = value

    return change


def without(key):
    """A change: the second category loses `key`."""
    return lambda data: data["categories"][1].pop(key)


NAN, TOO_LARGE = float("nan"), 10**400
# What is wrong -> (change, kind of the problem, boxes that remain of images 1 and 2; None: no such image).
FAULTS = {
    "bbox null": (setting("annotations", 0, "bbox", None), "incomplete annotation", [1, 1]),
    "bbox a number": (setting("annotations", 0, "bbox", 5), "corner that is not a number", [1, 1]),
    "bbox of texts": (setting("annotations", 0, "bbox", ["2", "2", "9", "9"]), "corner that is not a number", [1, 1]),
    "bbox of flags": (setting("annotations", 0, "bbox", [True] * 4), "corner that is not a number", [1, 1]),
    "bbox NaN": (setting("annotations", 0, "bbox", [NAN, 2, 9, 9]), "corner that is not a number", [1, 1]),
    "bbox beyond floats": (setting("annotations", 0, "bbox", [TOO_LARGE, 2, 9, 9]), "corner that is not a", [1, 1]),
    "bbox of negative size": (setting("annotations", 0, "bbox", [20, 20, -9, 9]), "zero-size box", [1, 1]),
    "annotation null": (setting("annotations", 0, None), "incomplete annotation", [1, 1]),
    "annotation id a list": (setting("annotations", 0, "id", [1]), "unusable id", [1, 1]),
    "image_id a list": (setting("annotations", 0, "image_id", [1]), "annotation without image", [1, 1]),
    "image_id a flag": (setting("annotations", 0, "image_id", True), "annotation without image", [1, 1]),
    "image_id a text": (setting("annotations", 0, "image_id", "1"), "annotation without image", [1, 1]),
    "category_id a dict": (setting("annotations", 0, "category_id", {}), "unknown class", [1, 1]),
    "category_id null": (setting("annotations", 0, "category_id", None), "incomplete annotation", [1, 1]),
    "iscrowd a text": (setting("annotations", 0, "iscrowd", "0"), "flag that is not a number", [1, 1]),
    "iscrowd 2": (setting("annotations", 0, "iscrowd", 2), "flag that is not a number", [1, 1]),
    "area a text": (setting("annotations", 0, "area", "200"), "area that is not a number", [1, 1]),
    "area negative": (setting("annotations", 0, "area", -200), "area that is not a number", [1, 1]),
    "ignore": (setting("annotations", 0, "ignore", 1), "flag that is not supported", [1, 1]),
    "image null": (setting("images", 1, None), "incomplete image entry", [2, None]),
    "image id a flag": (setting("images", 1, "id", True), "unusable id", [2, None]),
    "image id a list": (setting("images", 1, "id", []), "unusable id", [2, None]),
    "image id of another kind": (setting("images", 1, "id", "2"), "unusable id", [2, None]),
    "image id null": (setting("images", 1, "id", None), "incomplete image entry", [2, None]),
    "file_name a number": (setting("images", 1, "file_name", 2), "name that is not text", [2, None]),
    "file_name with a null character": (setting("images", 1, "file_name", "2\0.jpg"), "missing image", [2, None]),
    "width null": (setting("images", 1, "width", None), "incomplete image entry", [2, None]),
    "width a text": (setting("images", 1, "width", "60"), "size that is not a number of pixels", [2, None]),
    "width negative": (setting("images", 1, "width", -60), "size that is not a number of pixels", [2, None]),
    "height NaN": (setting("images", 1, "height", NAN), "size that is not a number of pixels", [2, None]),
}
# Those that leave nothing, whatever the policy.
USELESS = {
    "annotations null": (setting("annotations", None), "annotations is None, not a list"),
    "images null": (setting("images", None), "images is None, not a list"),
    "categories a dict": (setting("categories", {"1": "dog"}), "categories is {'1': 'dog'}, not a list"),
    "no categories": (setting("categories", []), "its categories are empty"),
    "category null": (setting("categories", 1, None), "category entry 2: it is None"),
    "category without id": (without("id"), "category entry 2: it has no id"),
    "category without name": (without("name"), "category entry 2: it has no name"),
    "category id a flag": (setting("categories", 1, "id", True), "category entry 2: id is True"),
    "category id a list": (setting("categories", 1, "id", [3]), r"category entry 2: id is \[3\]"),
    "category ids of two kinds": (setting("categories", 1, "id", "3"), "category ids are numbers and texts"),
    "category id twice": (setting("categories", 1, "id", 8), "category entry 2: id 8 is given to 'cat' too"),
    "category name a number": (setting("categories", 1, "name", 3), "category entry 2: name is 3"),
}


@pytest.mark.parametrize("change, kind, remaining", FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_listed_and_can_be_left_out(change, kind, remaining, checked, tmp_path):
    with pytest.raises(DatasetError, match=kind) as error:
        checked(change, "stop")
    assert str(tmp_path) in str(error.value)
    cfg, problems = checked(change, "leave_out")
    assert any(kind in problem.kind for problem in problems[cfg.DATASETS.TRAIN[0]])
    boxes = {record["image_id"]: len(record["annotations"]) for record in load_dataset_dicts(cfg.DATASETS.TRAIN[0])}
    assert [boxes.get(image_id) for image_id in (1, 2)] == remaining


@pytest.mark.parametrize("policy", ["stop", "leave_out"])
@pytest.mark.parametrize("change, message", USELESS.values(), ids=USELESS.keys())
def test_what_makes_the_file_useless_is_named(change, message, policy, checked):
    with pytest.raises(DatasetError, match=f"own.json: {message}"):
        checked(change, policy)


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"[" * 100000, b'{"images": ' + b"1" * 5000 + b"}"], ids=["bytes", "depth", "digits"]
)
def test_a_file_that_does_not_parse(text, tmp_path):
    (tmp_path / "own.json").write_bytes(text)
    (problem,) = clean_coco_json(str(tmp_path / "own.json"), str(tmp_path)).problems
    assert problem.kind == "json that does not parse"


def test_boxes_of_an_image_whose_file_is_missing_are_checked_too(checked):
    """All of it at once: the box is outside of the 60x40 pixels that the json gives the image."""

    def change(data):
        data["images"][0]["file_name"] = "gone.jpg"
        data["annotations"][0]["bbox"] = [50, 2, 20, 10]

    with pytest.raises(DatasetError, match="2 problems") as error:
        checked(change, "stop")
    assert "annotation 11 of image 1: (50, 2, 70, 12)" in str(error.value)
    assert "1 x missing image" in str(error.value) and "the image is 60x40" in str(error.value)


def test_all_faults_of_one_entry_are_listed(checked):
    def change(data):
        data["images"][1].update(file_name=5, width="wide")
        data["annotations"][0].update(category_id=99, bbox=[0, 0, 90, 10], area="large")

    with pytest.raises(DatasetError, match="5 problems"):
        checked(change, "stop")


@pytest.mark.parametrize("missing", [lambda entry, key: entry.pop(key), lambda entry, key: entry.update({key: None})])
def test_iscrowd_and_area_are_filled_in(missing, checked):
    def change(data):
        for key in ("iscrowd", "area"):
            missing(data["annotations"][0], key)
        data["annotations"][2]["iscrowd"] = 1

    cfg, problems = checked(change, "stop")
    (name,) = cfg.DATASETS.TRAIN
    assert problems[name] == []
    assert [[o["iscrowd"] for o in record["annotations"]] for record in load_dataset_dicts(name)] == [[0, 0], [1]]
    keys = cfg.DATASETS.COCO_JSON
    cleaned = clean_coco_json(keys.TRAIN_JSON, keys.TRAIN_IMAGES)
    assert cleaned.completed
    assert [annotation["area"] for annotation in cleaned.contents["annotations"]] == [20 * 10, 200, 200]


def test_a_whole_file_stays_as_it_is(checked):
    cfg, _ = checked(lambda data: None, "stop")
    keys = cfg.DATASETS.COCO_JSON
    assert clean_coco_json(keys.TRAIN_JSON, keys.TRAIN_IMAGES) == (contents(), [], False)


@pytest.mark.parametrize(
    "key, value",
    [
        ("segmentation", [[]]),
        ("segmentation", [[2, 2, 9, 9]]),
        ("segmentation", [2, 2, 9, 9, 9, 2]),
        ("segmentation", "polygon"),
        ("segmentation", {"size": [40, 60]}),
        ("segmentation", {"counts": [1, 2], "size": 40}),
        ("keypoints", ["a", "b", "c"]),
        ("keypoints", 5),
        ("ignore", None),
    ],
)
def test_a_box_is_kept_whatever_its_polygon(key, value, checked):
    """detectron2's reader stops at these, or drops the object, though its box is sound."""
    cfg, _ = checked(setting("annotations", 0, key, value), "stop")
    records = load_dataset_dicts(cfg.DATASETS.TRAIN[0])
    assert [[o["bbox"] for o in record["annotations"]] for record in records] == [
        [[2, 2, 20, 10], [5, 20, 30, 15]],
        [[0, 0, 60, 40]],
    ]


@pytest.mark.parametrize(
    "value",
    [
        [[2, 2, 22, 2, 22, 12]],
        {"counts": [0, 2400], "size": [40, 60]},
        {"counts": "PPYo1", "size": [40, 60]},
    ],
)
def test_a_sound_polygon_or_mask_is_kept(value, checked):
    cfg, _ = checked(setting("annotations", 0, "segmentation", value), "stop")
    assert "segmentation" in load_dataset_dicts(cfg.DATASETS.TRAIN[0])[0]["annotations"][0]
