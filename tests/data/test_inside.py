"""Names in a data set's files lead to files of the data set; links may lead anywhere."""

import json
import os

from frcnn_alt.data.coco_json import clean_coco_json
from frcnn_alt.data.inside import leads_outside
from frcnn_alt.data.voc_layout import find_voc_layout_classes, read_voc_layout

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voc_files import voc_annotation, write_image

OUTSIDE = ["../secret", "sub/../../secret", "/etc/passwd", "..", "../images2/a", "{top}/secret"]
INSIDE = ["a", "sub/a", "sub/../a", "./a", "..a", "{top}/images/a"]


def test_what_leads_outside(tmp_path):
    folder = tmp_path / "images"
    for name in OUTSIDE:
        assert leads_outside(name.format(top=tmp_path), str(folder)), name
    for name in INSIDE:
        assert not leads_outside(name.format(top=tmp_path), str(folder)), name
    assert not leads_outside("/etc/passwd", "/")  # a person who says so may have all of them


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=8))
def test_it_is_where_the_path_ends_that_counts(parts):
    depth, name = 0, "/".join(parts)
    for part in parts:
        depth += {"..": -1, "a": 1, "b": 1}.get(part, 0)
    if name.startswith("/"):
        return
    ended = os.path.normpath(os.path.join("/top/images", name))
    assert leads_outside(name, "/top/images") == (ended != "/top/images" and not ended.startswith("/top/images/"))


@pytest.fixture
def data(tmp_path):
    """A VOC-layout folder, and beside it an image and an annotation that are none of its own."""
    for name in ("voc/Annotations/sub", "voc/JPEGImages/sub", "voc/ImageSets/Main", "Annotations", "JPEGImages"):
        (tmp_path / name).mkdir(parents=True)
    xml = voc_annotation([("cat", 2, 3, 20, 30)], (60, 40))
    for name in ("voc/{}/a", "voc/{}/sub/b", "{}/secret"):
        write_image(tmp_path / (name.format("JPEGImages") + ".jpg"), (60, 40))
        (tmp_path / (name.format("Annotations") + ".xml")).write_text(xml.replace("cat", name[-1] + "cat"))
    return tmp_path


def test_lines_of_a_split(data):
    split = data / "voc" / "ImageSets" / "Main" / "train.txt"
    names = ["../../Annotations/secret", str(data / "Annotations" / "secret"), "../../JPEGImages/secret"]
    split.write_text("\n".join(["a", "sub/b", *names]))
    dicts, problems = read_voc_layout(str(data / "voc"), "train", ["acat", "bcat"])
    assert [record["image_id"] for record in dicts] == ["a", "sub/b"]
    assert [problem.kind for problem in problems] == ["name that leads outside the data set"] * 3
    assert all(problem.file == str(split) and name in problem.detail for problem, name in zip(problems, names))
    assert find_voc_layout_classes(str(data / "voc"), ["train"]) == ["acat", "bcat"]


def test_links_are_followed(data):
    (data / "voc" / "ImageSets" / "Main" / "train.txt").write_text("c\n")
    os.symlink(data / "JPEGImages" / "secret.jpg", data / "voc" / "JPEGImages" / "c.jpg")
    os.symlink(data / "Annotations" / "secret.xml", data / "voc" / "Annotations" / "c.xml")
    dicts, problems = read_voc_layout(str(data / "voc"), "train", ["tcat"])
    assert len(dicts) == 1 and not problems


@pytest.mark.parametrize(
    "name, root, is_read",
    [
        ("a.jpg", "voc/JPEGImages", True),
        ("sub/b.jpg", "voc/JPEGImages", True),
        ("{data}/voc/JPEGImages/a.jpg", "voc/JPEGImages", True),
        ("../../JPEGImages/secret.jpg", "voc/JPEGImages", False),
        ("{data}/JPEGImages/secret.jpg", "voc/JPEGImages", False),
        ("{data}/JPEGImages/secret.jpg", "", True),
    ],
)
def test_file_names_of_a_coco_json(data, name, root, is_read):
    image = {"id": 1, "file_name": name.format(data=data), "width": 60, "height": 40}
    path = data / "train.json"
    path.write_text(json.dumps({"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}))
    contents, problems, _ = clean_coco_json(str(path), str(data / root))
    assert [entry["id"] for entry in contents["images"]] == ([1] if is_read else [])
    if not is_read:
        (problem,) = problems
        assert problem.kind == "name that leads outside the data set" and problem.file == str(path)
        assert "secret" in problem.detail and "set the folder of the images" in problem.detail
