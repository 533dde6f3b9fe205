"""Selective Search by OpenCV: SPEC 9's settings, an order that is the same everywhere, pictures of all kinds."""

import sys
from types import SimpleNamespace

from frcnn_alt.data.shapes import render_scene
from frcnn_alt.proposals import ProposalSetError, SelectiveSearch
from frcnn_alt.proposals.opencv import import_opencv

import numpy as np
import pytest
from bright_scenes import UNUSUAL, bright_rectangle, check_boxes, iou

ximgproc = pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")


@pytest.fixture(scope="module")
def scene():
    image, boxes = render_scene(np.random.default_rng(5), 160, 120)
    return np.ascontiguousarray(image[:, :, ::-1]), boxes


@pytest.mark.parametrize("box", [(40, 30, 90, 80), (0, 0, 60, 40), (100, 25, 160, 50)])
@pytest.mark.parametrize("width", [0, 96])
def test_a_bright_rectangle_is_found_where_it_is(box, width):
    """Also in an image that is searched at another size."""
    image = bright_rectangle(160, 120, box)
    boxes, scores = SelectiveSearch(width=width, smallest_side=10)(image, "1")
    check_boxes(boxes, scores, image, 2000)
    assert max(iou(box, boxes)) > (0.9 if width else 0.95)


@pytest.mark.parametrize("quality, most", [(False, 2000), (False, 30), (True, 2000)])
def test_what_holds_of_any_boxes(scene, quality, most):
    image, _ = scene
    method = SelectiveSearch(most, quality)
    boxes, scores = method(image, "1")
    check_boxes(boxes, scores, image, most)
    assert scores.tolist() == list(range(len(boxes), 0, -1))  # SPEC 9: strictly decreasing dummies
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 20 and len(boxes) >= min(most, 40)
    everything, _ = SelectiveSearch(10**6, quality)(image, "1")
    assert np.array_equal(everything[:most], boxes)


def one_hierarchy(image, space, k, with_colour):
    """The boxes of a single segmentation and a single mix of similarities."""
    cv2, segmentation = import_opencv(), ximgproc.segmentation
    search = segmentation.createSelectiveSearchSegmentation()
    search.addImage(cv2.cvtColor(image, {"hsv": cv2.COLOR_BGR2HSV, "lab": cv2.COLOR_BGR2Lab}[space]))
    search.addGraphSegmentation(segmentation.createGraphSegmentation(0.8, float(k), k))
    kinds = ["Texture", "Size", "Fill", *(["Color"] if with_colour else [])]
    parts = [getattr(segmentation, f"createSelectiveSearchSegmentationStrategy{kind}")() for kind in kinds]
    mix = segmentation.createSelectiveSearchSegmentationStrategyMultiple()
    for part in parts:
        mix.addStrategy(part, 1 / len(parts))
    search.addStrategy(mix)
    return {(x, y, x + w, y + h) for x, y, w, h in search.process().tolist()}


def test_fast_mode_is_two_by_two_by_two_hierarchies(scene):
    """SPEC 9: HSV and Lab; two mixes of similarities; k and the smallest region 50 and 100, sigma 0.8."""
    image, _ = scene
    union = set()
    for space in ("hsv", "lab"):
        for k in (50, 100):
            for with_colour in (True, False):
                union |= one_hierarchy(image, space, k, with_colour)
    found, _ = SelectiveSearch(10**6, smallest_side=1)(image, "1")
    assert {tuple(map(int, box)) for box in found.tolist()} == union


def test_the_order_is_that_of_the_image_and_of_nothing_before(scene):
    image, _ = scene
    method = SelectiveSearch(smallest_side=5)
    first, _ = method(image, "a")
    other, _ = method(image, "b")
    again, _ = method(image, "a")
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert {tuple(box) for box in first.tolist()} == {tuple(box) for box in other.tolist()}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("smallest_side", [1, 20])
def test_unusual_images(name, smallest_side):
    image = UNUSUAL[name]
    boxes, scores = SelectiveSearch(smallest_side=smallest_side)(image, name)
    check_boxes(boxes, scores, image, 2000)
    if smallest_side == 1:
        assert [0, 0, image.shape[1], image.shape[0]] in boxes.tolist()  # the root of every hierarchy
    elif min(image.shape[:2]) < 20:
        assert len(boxes) == 0


@pytest.mark.parametrize("key, value", [("boxes", 0), ("width", -1), ("smallest_side", 0)])
def test_impossible_settings(key, value):
    with pytest.raises(ProposalSetError, match=f"{key.replace('_', ' ')} is {value}"):
        SelectiveSearch(**{key: value})


@pytest.mark.parametrize(
    "module, told",
    [(None, "which is not installed: pip install"), (SimpleNamespace(__version__="4.9"), "without its contrib module")],
)
def test_without_the_library(module, told, monkeypatch):
    """The package itself is imported all the same: the library is, when it is used."""
    monkeypatch.setitem(sys.modules, "cv2", module)
    import_opencv.cache_clear()
    try:
        with pytest.raises(ProposalSetError, match=rf"{told}.*|{told}") as caught:
            SelectiveSearch().prepare()
        assert "opencv-contrib-python-headless" in str(caught.value)
    finally:
        import_opencv.cache_clear()
