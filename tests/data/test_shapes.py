"""The demo's data set: repeatable, in VOC layout, with the variety that the demo promises."""

import hashlib
import json
from xml.etree import ElementTree

from frcnn_alt.data import shapes
from frcnn_alt.data.outlines import CLASS_OUTLINES, fill, outline_box, place

import numpy as np
import pytest
from PIL import Image


def _digests(root):
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "shapes"
    shapes.make_shapes(root, seed=3, num_trainval=40, num_test=10)
    return root


def _objects(path):
    for node in ElementTree.parse(path).iter("object"):
        box = [int(node.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax")]
        yield node.findtext("name"), box


def test_layout(made):
    trainval = (made / "ImageSets/Main/trainval.txt").read_text().split()
    test = (made / "ImageSets/Main/test.txt").read_text().split()
    assert (len(trainval), len(test)) == (40, 10)
    assert not set(trainval) & set(test)
    assert {p.stem for p in (made / "JPEGImages").iterdir()} == set(trainval + test)
    assert {p.stem for p in (made / "Annotations").iterdir()} == set(trainval + test)
    classes = (made / "CLASSES.txt").read_text().split()
    assert len(classes) >= 4
    named = {name for path in (made / "Annotations").iterdir() for name, _ in _objects(path)}
    assert named == set(classes)  # 40 images show every class


def test_images_and_boxes_agree(made):
    for path in (made / "Annotations").iterdir():
        with Image.open(made / "JPEGImages" / f"{path.stem}.jpg") as image:
            size = ElementTree.parse(path).find("size")
            assert image.size == (224, 168) == (int(size.findtext("width")), int(size.findtext("height")))
        objects = list(_objects(path))
        assert 1 <= len(objects) <= 5
        for _, (xmin, ymin, xmax, ymax) in objects:
            assert 1 <= xmin < xmax <= 224
            assert 1 <= ymin < ymax <= 168


def test_variety(made):
    sides, counts = [], []
    for path in (made / "Annotations").iterdir():
        objects = list(_objects(path))
        counts.append(len(objects))
        sides += [((x2 - x1 + 1) * (y2 - y1 + 1)) ** 0.5 for _, (x1, y1, x2, y2) in objects]
    assert set(counts) == {1, 2, 3, 4, 5}
    assert max(sides) / min(sides) > 3  # of about 130 drawn from a range of factor 4
    assert shapes.SIZE_RANGE[1] / shapes.SIZE_RANGE[0] >= 4


def test_same_seed_same_bytes(made, tmp_path):
    shapes.make_shapes(tmp_path / "again", seed=3, num_trainval=40, num_test=10)
    assert _digests(tmp_path / "again") == _digests(made)


def test_image_depends_on_seed_and_number_alone(made, tmp_path):
    shapes.make_shapes(tmp_path / "fewer", seed=3, num_trainval=2, num_test=2)
    shapes.make_shapes(tmp_path / "other", seed=4, num_trainval=2, num_test=2)
    full, fewer, other = _digests(made), _digests(tmp_path / "fewer"), _digests(tmp_path / "other")
    images = [name for name in fewer if name.endswith(".jpg")]
    assert len(images) == 4
    assert all(fewer[name] == full[name] for name in images)
    assert not {other[name] for name in images} & set(full.values())
    assert len({fewer[name] for name in images}) == 4


def test_box_is_that_of_the_painted_pixels():
    """Single objects: painted pixels reach the edges of the box (thin tips up to 2 pixels short), and none beyond."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        box, cover = shapes._draw_object(rng, 224, 168)
        painted = cover > 0.3  # PIL counts the edge itself as inside: a quarter of a pixel may spill
        rows, columns = np.nonzero(painted.any(axis=1))[0], np.nonzero(painted.any(axis=0))[0]
        short = np.array([columns[0], rows[0], -columns[-1] - 1, -rows[-1] - 1]) - (box.x1, box.y1, -box.x2, -box.y2)
        assert short.min() >= 0 and short.max() <= 2, (box, short)


@pytest.mark.parametrize(
    "name, area",
    [("disc", np.pi / 4), ("ring", np.pi / 4 * (1 - 0.55**2)), ("triangle", 0.5), ("cross", 1 - 4 * 0.34**2)],
)
def test_filled_area(name, area):
    outline = [ring * 80 + 10 for ring in place(CLASS_OUTLINES[name](), angle=0.0, stretch=1.0)]
    x1, y1, x2, y2 = outline_box(outline)
    assert (x1, y1, (x2 - x1) * (y2 - y1)) == pytest.approx((10, 10, 80**2))
    assert fill(outline, 110, 110).sum() / 80**2 == pytest.approx(area, abs=0.025)


def test_objects_stay_visible_and_apart():
    """Boxes overlap in some images, but never so much that NMS at 0.3 would lose one of them."""
    largest = []
    for seed in range(60):
        _, boxes = shapes.render_scene(np.random.default_rng(seed), 224, 168)
        largest += [shapes._iou(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert max(largest) <= 0.25
    assert sum(iou > 0.02 for iou in largest) >= 10


def test_finished_folder_is_left_alone(made):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*")}
    shapes.make_shapes(made, seed=3, num_trainval=40, num_test=10)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*")} == before


def test_foreign_folder_is_refused(made, tmp_path):
    with pytest.raises(FileExistsError, match="'seed': 3.*choose another folder"):
        shapes.make_shapes(made, seed=5, num_trainval=40, num_test=10)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(FileExistsError, match="photos exists and is no shapes data set"):
        shapes.make_shapes(tmp_path / "photos", seed=0)
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"x"


def test_cut_run_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail_at_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render(*args)

    render = shapes.render_scene
    monkeypatch.setattr(shapes, "render_scene", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        shapes.make_shapes(tmp_path / "cut", seed=0, num_trainval=5, num_test=1)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments():
    for wrong in ({"seed": -1}, {"num_trainval": 0}, {"num_test": 0}, {"size": (224, 16)}):
        with pytest.raises(ValueError, match="shapes need"):
            shapes.make_shapes("nowhere", **wrong)


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv",
        f"shapes --output {tmp_path}/out --seed 1 --num-trainval 2 --num-test 1 --size 96 64".split(),
    )
    shapes._main()
    assert "2 + 1 images" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/shapes.json").read_text())["size"] == [96, 64]
