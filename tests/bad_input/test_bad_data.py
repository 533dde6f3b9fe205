"""Data sets, in VOC's layout and as COCO json: everything that can be malformed stops the command, with its file."""

import json
import shutil

import pytest
from refusals import ONE_STEP, train_net

OBJECT = "<object><name>{name}</name>{flags}<bndbox>{corners}</bndbox></object>"
BOX = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
SIZE = "<size><width>112</width><height>84</height><depth>3</depth></size>"


def _xml(corners=(2, 2, 30, 30), name="disc", size=SIZE, flags=""):
    box = OBJECT.format(name=name, flags=flags, corners=BOX.format(*corners))
    return f"<annotation>{size}{box}</annotation>"


# Case -> the annotation's text, what is said of it.
ANNOTATIONS = {
    "empty": ("", "XML that does not parse"),
    "cut off": ("<annotation><size>", "XML that does not parse"),
    "bytes": (b"\x00\xff\x00", "XML that does not parse"),
    "another encoding than it says": (b'<?xml version="1.0" encoding="utf-8"?><a>\xe9</a>', "XML that does not parse"),
    "an encoding that nobody knows": (b'<?xml version="1.0" encoding="klingon"?><a/>', "XML that does not parse"),
    "an unknown class": (_xml(name="cow"), "'cow' is none of"),
    "no class": (_xml(name=""), "unknown class"),
    "a corner that is a text": (_xml(("left", 2, 30, 30)), "xmin is 'left'"),
    "a corner that is missing": (_xml(("", 2, 30, 30)), "xmin is ''"),
    "a corner that is NaN": (_xml(("nan", 2, 30, 30)), "corner that is not a number"),
    "an infinite corner": (_xml((2, 2, "inf", 30)), "corner that is not a number"),
    "a corner at 0": (_xml((0, 2, 30, 30)), "add 1 to every corner"),
    "a negative corner": (_xml((-9, 2, 30, 30)), "box outside the image"),
    "outside": (_xml((2, 2, 130, 30)), "the image is 112x84"),
    "corners exchanged": (_xml((30, 2, 2, 30)), "zero-size box"),
    "no width": (_xml((30, 2, 30, 30)), "zero-size box"),
    "a flag that is a text": (_xml(flags="<difficult>maybe</difficult>"), "difficult is 'maybe'"),
    "another size": (_xml(size=SIZE.replace("84", "48")), "1 x size that disagrees with the image"),
    "width and height exchanged": (
        _xml(size=SIZE.replace("84", "x").replace("112", "84").replace("x", "112")),
        "1 x size that disagrees with the image",
    ),
    "a size of 0": (_xml(size=SIZE.replace("84", "0")), "declares 112x0"),
    "a size that is a text": (_xml(size=SIZE.replace("84", "tall")), "size that disagrees"),
    "an infinite size": (_xml(size=SIZE.replace("84", "1e999")), "size that disagrees"),
    "no objects at all": ("<annotation/>", "has a box that is not marked difficult"),
    "difficult ones alone": (_xml(flags="<difficult>1</difficult>"), "has a box that is not marked difficult"),
}


@pytest.fixture
def one(start, tmp_path):
    """A VOC-layout folder of a single image, to be spoilt, and the name of that image."""
    root = shutil.copytree(start.root, tmp_path / "spoilt")
    image = (root / "ImageSets/Main/trainval.txt").read_text().split()[0]
    (root / "ImageSets/Main/trainval.txt").write_text(f"{image}\n")
    (root / "CLASSES.txt").write_text("disc\nring\nsquare\ntriangle\ncross\n")
    (root / "Annotations" / f"{image}.xml").write_text(_xml())
    return root, image


@pytest.fixture
def train_on(start, refused, tmp_path):
    """A function that says that training on a VOC-layout folder is refused, with these parts in the message."""

    def check(root, *parts):
        words = ["DATASETS.VOC_LAYOUT.ROOT", root, "DATASETS.VOC_LAYOUT.TEST_SPLITS", "()", *ONE_STEP]
        return refused(train_net(start.config, *words, "OUTPUT_DIR", tmp_path / "out"), *parts)

    return check


@pytest.mark.parametrize("case", ANNOTATIONS)
def test_annotations(case, one, train_on):
    root, image = one
    content, part = ANNOTATIONS[case]
    file = root / "Annotations" / f"{image}.xml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    train_on(root, f"{image}." if "size" in part else "spoilt" if "box that is not" in part else str(file), part)


def _remove(path):
    return lambda root, image: (root / path.format(image)).unlink()


def _write(path, content):
    return lambda root, image: (root / path.format(image)).write_bytes(content.replace(b"@", image.encode()))


def _folder(path):
    def make(root, image):
        (root / path.format(image)).unlink()
        (root / path.format(image)).mkdir()

    return make


SPLIT, XML = "ImageSets/Main/trainval.txt", "Annotations/{}.xml"
FOLDERS = {
    "no folder": (lambda root, _: shutil.rmtree(root), "there is no folder"),
    "no splits": (lambda root, _: shutil.rmtree(root / "ImageSets"), "is not a VOC-layout folder"),
    "no split file": (_remove(SPLIT), "TRAIN_SPLITS names trainval"),
    "an empty split": (_write(SPLIT, b"\n\n"), "it names no image"),
    "a split of bytes": (_write(SPLIT, b"\xff\xfe\x00"), "trainval.txt"),
    "an image twice": (_write(SPLIT, b"@\n@\n"), "is listed again"),
    "an image that is not there": (_write(SPLIT, b"@\nmore\n"), "more.jpg"),
    "VOC's lists of a class": (_write(SPLIT, b"@ -1\n"), "missing image"),
    "no annotation": (_remove(XML), "missing annotation file"),
    "an annotation that is a folder": (_folder(XML), "{image}.xml"),
    "no annotations": (lambda root, _: shutil.rmtree(root / "Annotations"), "missing annotation file"),
    "no images": (lambda root, _: shutil.rmtree(root / "JPEGImages"), "missing image"),
    "no classes": (_write("CLASSES.txt", b"\n"), "names no class"),
    "a class twice": (_write("CLASSES.txt", b"disc\ndisc\n"), "names twice: disc"),
    "classes of bytes": (_write("CLASSES.txt", b"\xff\xfe"), "cannot be read as a list of class names"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case, one, train_on):
    root, image = one
    spoil, part = FOLDERS[case]
    spoil(root, image)
    train_on(root, str(root), part.replace("{image}", image))


def _set(*keys_and_value):
    def spoil(contents):
        *keys, last, value = keys_and_value
        node = contents
        for key in keys:
            node = node[key]
        if value is _GONE:
            del node[last]
        else:
            node[last] = value

    return spoil


_GONE = object()
JSON = {
    "an image without file_name": (_set("images", 0, "file_name", _GONE), "it has no file_name"),
    "an image that is not there": (_set("images", 0, "file_name", "gone.jpg"), "gone.jpg"),
    "a file_name that is a number": (_set("images", 0, "file_name", 3), "file_name is 3"),
    "a width that is a text": (_set("images", 0, "width", "wide"), "width is 'wide'"),
    "another width": (_set("images", 0, "width", 111), "the annotation says 111x84"),
    "an id that is a list": (_set("images", 0, "id", [1]), "unusable id"),
    "an id twice": (lambda contents: contents["images"].append(contents["images"][0]), "duplicate image id"),
    "an image that is a text": (_set("images", 0, "a.jpg"), "not an object"),
    "a box of three": (_set("annotations", 0, "bbox", [1, 2, 3]), "bbox is [1, 2, 3]"),
    "a box of texts": (_set("annotations", 0, "bbox", ["a", "b", "c", "d"]), "corner that is not a number"),
    "a box of NaN": (_set("annotations", 0, "bbox", [float("nan"), 1, 2, 3]), "corner that is not a number"),
    "a box without size": (_set("annotations", 0, "bbox", [1, 2, 0, 3]), "zero-size box"),
    "a box outside": (_set("annotations", 0, "bbox", [100, 2, 50, 3]), "box outside the image"),
    "no box": (_set("annotations", 0, "bbox", _GONE), "it has no bbox"),
    "an unknown category": (_set("annotations", 0, "category_id", 77), "category_id 77"),
    "an unknown image": (_set("annotations", 0, "image_id", 77), "annotation without image"),
    "an annotation twice": (lambda c: c["annotations"].append(c["annotations"][0]), "duplicate annotation id"),
    "ignore": (_set("annotations", 0, "ignore", 1), "iscrowd 1 leaves"),
    "iscrowd 2": (_set("annotations", 0, "iscrowd", 2), "it is 0 or 1"),
    "an area that is a text": (_set("annotations", 0, "area", "big"), "area is 'big'"),
    "no categories": (_set("categories", []), "its categories are empty"),
    "a category without name": (_set("categories", 0, "name", _GONE), "it has no name"),
    "a category twice": (lambda c: c["categories"].append(c["categories"][0]), "duplicate category id"),
    "categories that are a text": (_set("categories", "disc"), "not a list"),
    "no images": (_set("images", []), "it names no image"),
    "no annotations": (_set("annotations", _GONE), "it has no annotations"),
    "crowds alone": (_set("annotations", 0, "iscrowd", 1), "has a box that is not marked difficult"),
    "text": (b"{", "json that does not parse"),
    "bytes": (b"\xff\xfe\x00", "json that does not parse"),
    "a list": (b"[]", "not a COCO json"),
    "nothing": (b"", "json that does not parse"),
}


@pytest.mark.parametrize("case", JSON)
def test_coco_json(case, start, refused, tmp_path):
    spoil, part = JSON[case]
    image = sorted((start.root / "JPEGImages").iterdir())[0].name
    contents = {
        "images": [{"id": 1, "file_name": image, "width": 112, "height": 84}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 30, 30], "iscrowd": 0, "area": 900}],
        "categories": [{"id": 1, "name": "disc"}],
    }
    file = tmp_path / "spoilt.json"
    if isinstance(spoil, bytes):
        file.write_bytes(spoil)
    else:
        spoil(contents)
        file.write_text(json.dumps(contents))
    keys = ["DATASETS.VOC_LAYOUT.ROOT", "", "DATASETS.COCO_JSON.TRAIN_JSON", file]
    keys += ["DATASETS.COCO_JSON.TRAIN_IMAGES", start.root / "JPEGImages", *ONE_STEP]
    refused(train_net(start.config, *keys, "OUTPUT_DIR", tmp_path / "out"), part)
