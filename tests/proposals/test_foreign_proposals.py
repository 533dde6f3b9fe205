"""Import of proposals: everything wrong is told before anything is used; py-faster-rcnn's filter; 2000 of an image."""

import pickle
from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.proposals import (
    PROPOSAL_FORMATS,
    ProposalDatasetMapper,
    ProposalSet,
    ProposalSetError,
    import_proposals,
)

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from hypothesis import given
from hypothesis import strategies as st
from oracles.proposal_files import by_score, continuous, rows_kept_by_pyfrcnn
from PIL import Image

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WIDTH, HEIGHT = 60, 40
BOX = [1, 2, 30, 20]


def dicts(*image_ids):
    return [{"image_id": image_id, "width": WIDTH, "height": HEIGHT} for image_id in image_ids]


def save(path, boxes_of, scores_of=None):
    """A .pkl in detectron2's form; by default the scores decrease."""
    boxes = [np.array(boxes, np.float64).reshape(-1, 4) for boxes in boxes_of.values()]
    scores = [-np.arange(float(len(b))) for b in boxes] if scores_of is None else scores_of
    path.write_bytes(pickle.dumps({"ids": list(boxes_of), "boxes": boxes, "objectness_logits": scores}))
    return path


def bring_in(tmp_path, boxes_of, dataset, scores_of=None, **arguments):
    path = save(tmp_path / "p.pkl", boxes_of, scores_of)
    return import_proposals(path, "detectron2", "toys", tmp_path / "set", dataset, **arguments)


def test_every_problem_is_told_and_nothing_is_written(tmp_path):
    images = {
        "good": [BOX],
        "nan": [BOX, [1, np.nan, 30, 20]],
        "inverted": [BOX, [30, 2, 1, 20], [3, 20, 4, 2]],
        "outside": [BOX, [0, 0, WIDTH, HEIGHT + 1.5], [-1.5, 0, 9, 9]],
    }
    with pytest.raises(ProposalSetError) as caught:
        bring_in(tmp_path, images, dicts("good", "nan", "inverted", "outside", *[f"none{i}" for i in range(30)]))
    text = str(caught.value)
    assert "p.pkl (detectron2) cannot be used for toys (34 images). 33 problems" in text
    assert "30 x image without proposals" in text and "image none0" in text and "none29" not in text
    assert "not finite: image nan: 1 of 2, the first (x1, y1, x2, y2) = (1.0, nan, 30.0, 20.0)" in text
    assert "boxes with x2 < x1 or y2 < y1: image inverted: 2 of 3" in text and "(30.0, 2.0, 1.0, 20.0)" in text
    assert "outside the image: image outside: 2 of 3" in text and "the image is 60x40" in text
    assert "columns in the order of detectron2" in text
    assert "image good" not in text
    assert not list(tmp_path.glob("set*"))


def test_score_that_is_not_a_number(tmp_path):
    with pytest.raises(ProposalSetError, match="not finite: image 1: 1 of 2, .* with score nan"):
        bring_in(tmp_path, {1: [BOX, BOX]}, dicts(1), [np.array([1, np.nan])])


@pytest.mark.parametrize("side", range(4))
def test_a_pixel_outside_is_allowed_and_more_is_not(tmp_path, side):
    box = [-1.0, -1.0, WIDTH + 1.0, HEIGHT + 1.0]
    assert bring_in(tmp_path, {1: [box]}, dicts(1))[1][0].tolist() == [box]
    box[side] += -0.01 if side < 2 else 0.01
    with pytest.raises(ProposalSetError, match="outside the image: image 1: 1 of 1"):
        bring_in(tmp_path, {1: [box]}, dicts(1))


def test_a_failed_import_leaves_the_set_that_was_there(tmp_path):
    before = bring_in(tmp_path, {1: [BOX]}, dicts(1))
    with pytest.raises(ProposalSetError, match="without proposals"):
        bring_in(tmp_path, {2: [BOX]}, dicts(1))
    assert ProposalSet(tmp_path / "set").sha256 == before.sha256


def test_images_that_the_data_set_does_not_know(tmp_path, caplog):
    with caplog.at_level("WARNING"):
        found = bring_in(tmp_path, {i: [BOX] for i in range(9)}, dicts(8))
    assert found.image_ids == ["8"]
    assert "8 of its 9 images are not in toys and are left out: 0, 1, 2, 3, 4, ..." in caplog.text


def test_names_by_id_then_by_file_name(tmp_path):
    """An id that is another image's file name is the id."""
    dataset = [{**dicts("a")[0], "file_name": "x/b.jpg"}, {**dicts("b")[0], "file_name": "x/c.jpg"}]
    found = bring_in(tmp_path, {"b": [[1, 1, 9, 9]], "y/c.jpg.png": [BOX], "y/b.jpg": [BOX]}, dataset)
    assert found["b"][0].tolist() == [[1, 1, 9, 9]] and found["a"][0].tolist() == [BOX]


def test_registered_data_set_and_what_the_set_says_of_itself(tmp_path, own_catalogs):
    DatasetCatalog.register("own_toys", lambda: dicts(3))
    found = import_proposals(save(tmp_path / "p.pkl", {3: [BOX]}), "detectron2", "own_toys", tmp_path / "set")
    found.check_covers(dicts(3))
    assert found.dataset_name == "own_toys"
    assert found.metadata == {"imported": "p.pkl", "format": "detectron2", "drop_duplicate_and_tiny": False}


def test_nothing_to_import(tmp_path):
    path = save(tmp_path / "p.pkl", {1: [BOX]})
    with pytest.raises(ProposalSetError, match=f"'edge_boxes': it is one of {', '.join(PROPOSAL_FORMATS)}"):
        import_proposals(path, "edge_boxes", "toys", tmp_path / "set", dicts(1))
    with pytest.raises(ProposalSetError, match="no proposals at .*missing.mat"):
        import_proposals(tmp_path / "missing.mat", "selective_search", "toys", tmp_path / "set", dicts(1))
    with pytest.raises(ProposalSetError, match="toys has no images"):
        import_proposals(path, "detectron2", "toys", tmp_path / "set", [])
    with pytest.raises(ProposalSetError, match='image 1 .* needs "width" and "height"'):
        import_proposals(path, "detectron2", "toys", tmp_path / "set", [{"image_id": 1}])


def test_filter_of_pyfrcnn_by_hand(tmp_path):
    """Between inclusive corners 2 in x are enough, 3 in y; of boxes equal in whole pixels the first stays."""
    boxes = [[0, 0, 3, 4], [0, 0, 2, 9], [5, 5, 8, 8], [5, 5, 9, 9], [0, 0, 3, 4], [0, 0, 60, 40], [5.25, 5, 9, 8.75]]
    assert bring_in(tmp_path, {1: boxes}, dicts(1))[1][0].tolist() == boxes
    kept = bring_in(tmp_path, {1: boxes}, dicts(1), drop_duplicate_and_tiny=True)
    assert kept[1][0].tolist() == [[0, 0, 3, 4], [5, 5, 9, 9], [0, 0, 60, 40]]
    assert kept[1][1].tolist() == [0, -3, -5]
    assert kept.metadata["drop_duplicate_and_tiny"]


# Small, so that boxes are often equal or tiny; halves, which the rule rounds to even
CORNER = st.integers(2, 16).map(lambda value: value / 2)
ROWS = st.lists(st.tuples(CORNER, CORNER, CORNER, CORNER), max_size=20).map(
    lambda corners: [[min(a, b), min(c, d), max(a, b), max(c, d)] for a, b, c, d in corners]
)


@given(rows=ROWS, data=st.data())
def test_filter_against_the_oracle(tmp_path_factory, rows, data):
    """Of equal boxes, and whatever the order of the file, the one with the best score stays."""
    scores = data.draw(st.lists(st.integers(0, 5).map(float), min_size=len(rows), max_size=len(rows)))
    order = by_score(scores)
    expected = [order[number] for number in rows_kept_by_pyfrcnn([rows[number] for number in order])]
    folder = tmp_path_factory.mktemp("filter")
    boxes = {1: [continuous(row) for row in rows]}
    boxes, kept = bring_in(folder, boxes, dicts(1), [np.array(scores)], drop_duplicate_and_tiny=True)[1]
    assert boxes.tolist() == [continuous(rows[number]) for number in expected]
    assert kept.tolist() == [scores[number] for number in expected]


@pytest.mark.parametrize("is_train", [True, False])
def test_selective_search_trains_and_tests_with_the_first_2000(tmp_path, is_train):
    savemat = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is an optional package").savemat
    x, y = np.divmod(np.arange(2010), HEIGHT)  # each box of its own, in an order that its position tells
    rows = np.stack([y + 1, x + 1, np.full(2010, HEIGHT), np.full(2010, WIDTH)], axis=1)[::-1]
    boxes, images = np.empty((1, 1), object), np.empty((1, 1), object)
    boxes[0, 0], images[0, 0] = rows.astype(np.uint16), "7"
    savemat(tmp_path / "toys.mat", {"boxes": boxes, "images": images})
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "7.png")
    image = {**dicts("7")[0], "file_name": str(tmp_path / "7.png")}
    found = import_proposals(tmp_path / "toys.mat", "selective_search", "toys", tmp_path / "set", [image])
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN.yaml"))
    assert (cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN, cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST) == (2000, 2000)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.RANDOM_FLIP = (HEIGHT,), HEIGHT, "none"
    mapper = ProposalDatasetMapper(cfg, is_train, proposal_sets={"toys": found})
    proposals = mapper(image)["proposals"]
    assert proposals.proposal_boxes.tensor.tolist() == [continuous(row, "yxyx") for row in rows[:2000]]
    assert (np.diff(proposals.objectness_logits.numpy()) < 0).all()
