"""The VOC-layout reader: frames, flags, forgiving formats, and problems instead of exceptions."""

from frcnn_alt.data import DatasetError
from frcnn_alt.data.voc_layout import find_voc_layout_classes, read_voc_layout

import pytest
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.datasets.pascal_voc import load_voc_instances
from detectron2.structures import BoxMode
from voc_files import voc_annotation, write_image

CLASSES = ["cat", "dog"]


def read(root, split="trainval", classes=CLASSES):
    return read_voc_layout(str(root), split, classes)


def test_agrees_with_detectron2_reader_on_what_both_know(voc_folder):
    root = voc_folder({"a": [("dog", 1, 1, 60, 40), ("cat", 5, 6, 20, 30, 1)], "b": [], "c": [("cat", 2, 3, 4, 5)]})
    dicts, problems = read(root)
    assert problems == []
    expected = load_voc_instances(str(root), "trainval", CLASSES)
    for record, other in zip(dicts, expected):
        for annotation, plain in zip(record["annotations"], other["annotations"]):
            assert {key: annotation[key] for key in plain} == plain
        assert {**record, "annotations": 0} == {**other, "annotations": 0}
    assert len(dicts) == len(expected) == 3
    assert dicts[0]["annotations"][0]["bbox"] == [0, 0, 60, 40]


def test_difficult_objects_reach_the_dictionaries_but_not_the_training(voc_folder):
    root = voc_folder({"a": [("dog", 2, 2, 30, 30, 1), ("cat", 5, 6, 20, 30, 0)], "b": [("dog", 2, 2, 30, 30, 1)]})
    dicts, _ = read(root)
    flags = [[(o["difficult"], o["iscrowd"]) for o in record["annotations"]] for record in dicts]
    assert flags == [[(1, 1), (0, 0)], [(1, 1)]]
    assert [record["image_id"] for record in filter_images_with_only_crowd_annotations(dicts)] == ["a"]
    mapper = DatasetMapper(is_train=True, augmentations=[T.NoOpTransform()], image_format="BGR")
    assert mapper(dicts[0])["instances"].gt_classes.tolist() == [CLASSES.index("cat")]


@pytest.mark.parametrize("extension", [".jpeg", ".png", ".JPG"])
def test_other_image_extensions(voc_folder, extension):
    dicts, problems = read(voc_folder({"a": [("dog", 2, 2, 30, 30)]}, extension=extension))
    assert problems == []
    assert dicts[0]["file_name"].endswith("a" + extension)


def test_float_corners_and_rounding_below_a_pixel(voc_folder):
    dicts, problems = read(voc_folder({"a": [("dog", 0.5, 2.25, 60.9, 30.5)]}))
    assert problems == []
    assert dicts[0]["annotations"][0]["bbox"] == [-0.5, 1.25, 60.9, 30.5]
    assert dicts[0]["annotations"][0]["bbox_mode"] == BoxMode.XYXY_ABS


def test_undeclared_size_is_taken_from_the_image_as_detectron2_will_see_it(voc_folder):
    root = voc_folder({"a": [("dog", 2, 2, 30, 30)]})
    path = root / "Annotations" / "a.xml"
    text = path.read_text()
    path.write_text(text[: text.index("<size>")] + text[text.index("</size>") + len("</size>") :])
    dicts, problems = read(root)
    assert problems == []
    assert (dicts[0]["width"], dicts[0]["height"]) == (60, 40)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (("dog", 10, 10, 61, 20), "box outside the image"),
        (("dog", -3, 10, 50, 20), "box outside the image"),
        (("dog", 10, 10, 20, 41), "box outside the image"),
        (("dog", 10, 10, 10, 20), "zero-size box"),
        (("dog", 30, 10, 10, 20), "zero-size box"),
        (("dog", 0, 10, 20, 20), "0-based corner"),
        (("dog", 10, 0, 20, 20), "0-based corner"),
        (("cow", 10, 10, 20, 20), "unknown class"),
        (("dog", "left", 10, 20, 20), "corner that is not a number"),
        (("dog", "nan", 10, 20, 20), "corner that is not a number"),
        (("dog", 10, 10, 20, 20, "maybe"), "flag that is not a number"),
    ],
)
def test_a_malformed_box_is_named_and_the_others_stay(voc_folder, box, kind):
    root = voc_folder({"a": [("cat", 1, 1, 60, 40), box, ("dog", 2, 2, 9, 9)]})
    dicts, problems = read(root)
    assert [problem.kind for problem in problems] == [kind]
    assert problems[0].file == str(root / "Annotations" / "a.xml")
    assert problems[0].detail.startswith("object 2: ")
    assert problems[0].scope == "box"
    assert [annotation["category_id"] for annotation in dicts[0]["annotations"]] == [0, 1]


def test_malformed_images_do_not_stop_the_reading(voc_folder):
    good = [("dog", 2, 2, 30, 30)]
    root = voc_folder(dict.fromkeys(("first", "broken", "gone", "bare", "flat", "last"), good))
    (root / "Annotations" / "broken.xml").write_text("<annotation><object>")
    (root / "JPEGImages" / "gone.jpg").unlink()
    (root / "Annotations" / "bare.xml").unlink()
    (root / "Annotations" / "flat.xml").write_text(voc_annotation(good, (0, 0)))
    split = root / "ImageSets" / "Main" / "trainval.txt"
    split.write_text(split.read_text() + "\nfirst\n")
    dicts, problems = read(root)
    assert [record["image_id"] for record in dicts] == ["first", "last"]
    assert {(problem.kind, problem.file.split("/")[-1]) for problem in problems} == {
        ("XML that does not parse", "broken.xml"),
        ("missing image", "gone.jpg"),
        ("missing annotation file", "bare.xml"),
        ("size that disagrees with the image", "flat.xml"),
        ("duplicate image id", "trainval.txt"),
    }


def test_an_image_that_is_missing_still_has_its_boxes_checked(voc_folder):
    root = voc_folder({"a": [("cow", 2, 2, 30, 30)]})
    (root / "JPEGImages" / "a.jpg").unlink()
    dicts, problems = read(root)
    assert dicts == []
    assert sorted(problem.kind for problem in problems) == ["missing image", "unknown class"]


def test_missing_and_empty_splits(voc_folder):
    root = voc_folder({"a": []}, splits={"trainval": ["a"], "nobody": []})
    for split, kind in (("val", "missing split file"), ("nobody", "empty split")):
        dicts, problems = read(root, split)
        assert dicts == []
        assert [(problem.kind, problem.scope) for problem in problems] == [(kind, "data set")]
    assert "nobody, trainval" in read(root, "val")[1][0].detail


def test_class_names_come_from_the_file_or_else_from_the_objects(voc_folder):
    images = {"a": [("zebra", 1, 1, 9, 9), ("ant", 1, 1, 9, 9)], "b": [("bee", 1, 1, 9, 9)]}
    splits = {"trainval": ["a"], "test": ["b"]}
    without = voc_folder(images, name="without", splits=splits)
    assert find_voc_layout_classes(str(without), ["trainval", "test"]) == ["ant", "bee", "zebra"]
    assert find_voc_layout_classes(str(without), ["trainval"]) == ["ant", "zebra"]
    (without / "Annotations" / "b.xml").write_text("not XML")
    assert find_voc_layout_classes(str(without), ["trainval", "test"]) == ["ant", "zebra"]
    with_file = voc_folder(images, name="with_file", classes=["zebra", "ant", "", "bee"])
    assert find_voc_layout_classes(str(with_file), ["trainval"]) == ["zebra", "ant", "bee"]


def test_class_names_that_cannot_be_used(voc_folder):
    with pytest.raises(DatasetError, match="names twice: ant"):
        find_voc_layout_classes(str(voc_folder({"a": []}, classes=["ant", "ant"])), ["trainval"])
    with pytest.raises(DatasetError, match="names no class"):
        find_voc_layout_classes(str(voc_folder({"a": []}, name="empty", classes=[])), ["trainval"])
    with pytest.raises(DatasetError, match="VOC_LAYOUT.CLASSES"):
        find_voc_layout_classes(str(voc_folder({"a": []}, name="bare")), ["trainval"])


def test_image_ids_may_hold_spaces(voc_folder):
    root = voc_folder({"my dog 1": [("dog", 2, 2, 30, 30)]})
    write_image(root / "JPEGImages" / "my.jpg", (60, 40))
    dicts, problems = read(root)
    assert problems == []
    assert [record["image_id"] for record in dicts] == ["my dog 1"]


def test_lists_written_on_windows(voc_folder):
    root = voc_folder({"a": [("dog", 2, 2, 30, 30)]})
    (root / "ImageSets" / "Main" / "trainval.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\n")
    (root / "CLASSES.txt").write_bytes(b"\xef\xbb\xbfdog\r\n")
    dicts, problems = read(root, classes=find_voc_layout_classes(str(root), ["trainval"]))
    assert problems == []
    assert [record["image_id"] for record in dicts] == ["a"]
