"""EdgeBoxes by OpenCV, on gradients and on a structured edge detector: what goes in and what comes out."""

import hashlib

from frcnn_alt.data.shapes import render_scene
from frcnn_alt.proposals import EdgeBoxes, ProposalSetError, edge_boxes
from frcnn_alt.proposals.edge_boxes import gradient_edges

import numpy as np
import pytest
from bright_scenes import UNUSUAL, bright_rectangle, check_boxes, iou

cv2 = pytest.importorskip("cv2")
pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")


@pytest.mark.parametrize("box", [(40, 30, 90, 80), (20, 20, 80, 60), (90, 35, 150, 100)])
def test_a_bright_rectangle_is_found_where_it_is(box):
    image = bright_rectangle(160, 120, box)
    boxes, scores = EdgeBoxes()(image, "1")
    check_boxes(boxes, scores, image, 2000)
    assert max(iou(box, boxes)) > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_what_holds_of_any_boxes(seed):
    image = np.ascontiguousarray(render_scene(np.random.default_rng(seed), 160, 120)[0][:, :, ::-1])
    boxes, scores = EdgeBoxes()(image, "1")
    check_boxes(boxes, scores, image, 2000)
    assert len(boxes) > 50 and scores.min() > 0 and len(np.unique(scores)) > len(scores) / 2  # its own scores
    again, few = EdgeBoxes()(image, "2"), EdgeBoxes(10)(image, "1")
    assert np.array_equal(again[0], boxes) and np.array_equal(again[1], scores)
    check_boxes(*few, image, 10)


def test_boxes_are_not_shifted_by_a_pixel():
    """The library counts from 1."""
    box = (50, 40, 110, 80)  # in the middle of the picture
    boxes, scores = EdgeBoxes()(bright_rectangle(160, 120, box), "1")
    best = boxes[np.argsort([-value for value in iou(box, boxes)])[0]]
    assert np.abs(best - box).max() <= 2


def test_edges_of_a_rectangle_are_thin_and_point_across():
    strength, direction = gradient_edges(bright_rectangle(100, 80, (30, 20, 70, 60)))
    assert strength.shape == direction.shape == (80, 100) and strength.dtype == direction.dtype == np.float32
    assert strength.min() == 0 and strength.max() == 1 and (direction >= 0).all() and (direction <= np.pi).all()
    row, column = strength[40], strength[:, 50]  # across two upright edges, and across two level ones
    for profile, ends in ((row, (30, 70)), (column, (20, 60))):
        places = np.flatnonzero(profile > 0.5)
        assert len(places) == 2 and all(abs(place - end) <= 1 for place, end in zip(places, ends))
    upright = direction[40, np.flatnonzero(row > 0.5)]
    assert np.minimum(upright, np.pi - upright).max() < 0.01  # gradient along x
    assert np.abs(direction[np.flatnonzero(column > 0.5), 50] - np.pi / 2).max() < 0.01


def test_slanted_edges_point_across_with_y_downwards():
    rows, columns = np.mgrid[:80, :80]
    image = np.repeat(((rows + columns > 80) * 200).astype(np.uint8)[:, :, None], 3, axis=2)  # brighter right below
    strength, direction = gradient_edges(image)
    inside = np.pad(np.ones((60, 60), bool), 10)  # away from where the edge ends
    assert np.abs(direction[(strength > 0.5) & inside] - np.pi / 4).max() < 0.2


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_images(name):
    boxes, scores = EdgeBoxes()(UNUSUAL[name], name)
    check_boxes(boxes, scores, UNUSUAL[name], 2000)
    if name not in ("noise", "black and white"):
        assert len(boxes) == 0


class Detector:
    """Stands in for OpenCV's, whose model is not at hand: edges by gradients, and what it was shown."""

    def detectEdges(self, image):
        self.shown = image
        return gradient_edges(np.ascontiguousarray((image[:, :, ::-1] * 255).astype(np.uint8)))[0]

    def computeOrientation(self, edges):
        self.direction = np.full_like(edges, 0.5)
        return self.direction

    def edgesNms(self, edges, direction):
        assert direction is self.direction
        return edges


def test_edges_of_a_model(tmp_path, monkeypatch):
    """It wants RGB from 0 to 1, and its edges are thinned before they are searched."""
    model, detector = tmp_path / "model.yml.gz", Detector()
    model.write_bytes(b"a model")
    monkeypatch.setattr(cv2.ximgproc, "createStructuredEdgeDetection", lambda path: detector)
    edge_boxes._detector.cache_clear()
    image = bright_rectangle(160, 120, (40, 30, 90, 80))
    image[:, :, 0] = 0  # no blue
    method = EdgeBoxes(edge_model=str(model))
    boxes, scores = method(image, "1")
    edge_boxes._detector.cache_clear()
    check_boxes(boxes, scores, image, 2000)
    assert detector.shown.dtype == np.float32 and detector.shown[50, 60].tolist() == pytest.approx(
        [230 / 255] * 2 + [0]
    )
    assert method.settings()["edges"]["model_sha256"] == hashlib.sha256(b"a model").hexdigest()
    assert EdgeBoxes().settings()["edges"]["by"] == "gradients"


def test_what_is_no_model(tmp_path):
    with pytest.raises(ProposalSetError, match="--edge-model .*missing.yml.gz: there is no such file"):
        EdgeBoxes(edge_model=str(tmp_path / "missing.yml.gz"))
    (tmp_path / "text.yml").write_text("nothing")
    with pytest.raises(ProposalSetError, match="text.yml is no model of OpenCV's structured edge detector"):
        EdgeBoxes(edge_model=str(tmp_path / "text.yml")).prepare()
    with pytest.raises(ProposalSetError, match="boxes is 0"):
        EdgeBoxes(0)


def test_it_is_set_for_an_iou_of_0_7(monkeypatch):
    """SPEC 8.1."""
    asked = {}
    real = cv2.ximgproc.createEdgeBoxes
    monkeypatch.setattr(cv2.ximgproc, "createEdgeBoxes", lambda **keys: asked.update(keys) or real(**keys))
    EdgeBoxes(7)(bright_rectangle(80, 60, (20, 20, 60, 50)), "1")
    assert asked == {"alpha": 0.65, "beta": 0.75, "maxBoxes": 7}
