"""detectron2's .pkl files: what its own loader reads is read alike, without its traps and without running code."""

import copy
import pickle

from frcnn_alt.proposals import ProposalDatasetMapper, ProposalSetError, import_proposals

import numpy as np
import pytest
from detectron2.data import DatasetMapper
from detectron2.data.build import load_proposals_into_dataset
from detectron2.structures import BoxMode
from oracles.proposal_files import by_score
from PIL import Image
from proposal_sets import random_proposals

IMAGES = {7: random_proposals(np.random.default_rng(1), 30), 12: random_proposals(np.random.default_rng(2), 4)}


def dicts(*image_ids):
    return [{"image_id": image_id, "width": 500, "height": 500} for image_id in image_ids]


def content(images=IMAGES, **more):
    boxes, scores = zip(*images.values())
    return {"ids": list(images), "boxes": list(boxes), "objectness_logits": list(scores), **more}


def save(path, data, protocol=2):
    path.write_bytes(pickle.dumps(data, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("as_id", [str, int, np.int64])
def test_as_detectron2_reads_it(tmp_path, protocol, old_names, as_id):
    data = content()
    data["ids"] = [as_id(image_id) for image_id in data["ids"]]
    if old_names:
        data["indexes"], data["scores"] = data.pop("ids"), data.pop("objectness_logits")
    path = save(tmp_path / "rpn.pkl", data, protocol)
    found = import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts(12, 7))
    assert found.image_ids == ["12", "7"]
    for record in load_proposals_into_dataset(dicts(12, 7), str(path)):
        image_id = record["image_id"]
        boxes, scores = found[image_id]
        order = by_score(IMAGES[image_id][1].tolist())
        assert np.array_equal(boxes, IMAGES[image_id][0][order])
        assert np.array_equal(boxes, record["proposal_boxes"])
        assert np.array_equal(scores, record["proposal_objectness_logits"])


@pytest.mark.parametrize("mode", [{}, {"bbox_mode": 0}, {"bbox_mode": BoxMode.XYXY_ABS}])
def test_absolute_corners_are_the_default(tmp_path, mode):
    path = save(tmp_path / "rpn.pkl", content({1: ([[1.5, 2, 30, 40]], [0.5])}, **mode))
    found = import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts(1))
    assert found[1][0].tolist() == [[1.5, 2, 30, 40]]  # continuous already: nothing is added


@pytest.mark.parametrize("mode", [1, BoxMode.XYWH_ABS])
def test_width_and_height(tmp_path, mode):
    images = {1: (np.array([[1.5, 2, 30, 40]]), np.array([0.5])), 2: (np.zeros((0, 4)), np.zeros(0))}
    path = save(tmp_path / "rpn.pkl", content(images, bbox_mode=mode))
    found = import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts(1, 2))
    assert found[1][0].tolist() == [[1.5, 2, 31.5, 42]]
    assert found[2][0].shape == (0, 4)


def map_image(found, image, topk=2000):
    mapper = ProposalDatasetMapper(
        is_train=True,
        augmentations=[],
        image_format="BGR",
        proposal_sets={"toys": found},
        precomputed_proposal_topk=topk,
    )
    return mapper(image)["proposals"]


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.zeros((500, 500, 3), np.uint8)).save(tmp_path / "7.png")
    return {**dicts(7)[0], "file_name": str(tmp_path / "7.png")}


def test_same_proposals_as_detectron2s_own_loader_and_mapper(tmp_path, image):
    path = save(tmp_path / "rpn.pkl", content())
    record = load_proposals_into_dataset([copy.deepcopy(image)], str(path))[0]
    stock = DatasetMapper(is_train=True, augmentations=[], image_format="BGR", precomputed_proposal_topk=10)(record)
    found = import_proposals(path, "detectron2", "toys", tmp_path / "set", [image])
    ours = map_image(found, image, topk=10)
    assert len(ours) == 10
    assert ours.proposal_boxes.tensor.equal(stock["proposals"].proposal_boxes.tensor)
    assert ours.objectness_logits.equal(stock["proposals"].objectness_logits)


def test_equal_scores_keep_the_order_of_the_file_which_detectron2_does_not(tmp_path, image, caplog):
    boxes = IMAGES[7][0]
    scores = np.repeat(np.float32([1, 3, 2]), 10)
    path = save(tmp_path / "ss.pkl", content({7: (boxes, scores)}))
    in_order = boxes[by_score(scores.tolist())]
    assert in_order[0].tolist() == boxes[10].tolist()
    stock = load_proposals_into_dataset(dicts(7), str(path))[0]["proposal_boxes"]
    assert not np.array_equal(stock, in_order)
    with caplog.at_level("WARNING"):
        found = import_proposals(path, "detectron2", "toys", tmp_path / "set", [image])
    assert np.array_equal(found[7][0], in_order)
    assert np.array_equal(map_image(found, image).proposal_boxes.tensor.numpy(), in_order)
    assert "27 boxes in 1 images have the score of the box before them (27 in image 7)" in caplog.text


def test_scores_that_float32_makes_equal_are_counted(tmp_path, caplog):
    path = save(tmp_path / "rpn.pkl", content({1: (IMAGES[12][0][:2], np.array([1.0, 1.0 + 1e-12]))}))
    with caplog.at_level("WARNING"):
        found = import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts(1))
    assert np.array_equal(found[1][0], IMAGES[12][0][:2])  # in the order of the file, too
    assert "1 boxes in 1 images" in caplog.text


def test_different_scores_are_no_warning(tmp_path, caplog):
    with caplog.at_level("WARNING"):
        import_proposals(save(tmp_path / "rpn.pkl", content()), "detectron2", "toys", tmp_path / "set", dicts(7, 12))
    assert not caplog.records


def test_image_that_the_file_lacks_is_named_where_detectron2_raises_keyerror(tmp_path):
    path = save(tmp_path / "rpn.pkl", content())
    with pytest.raises(KeyError):
        load_proposals_into_dataset(dicts(7, 8), str(path))
    with pytest.raises(
        ProposalSetError, match=r"rpn.pkl .* toys \(2 images\).*(\n.*)*image without proposals: image 8"
    ):
        import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts(7, 8))


class RunsCode:
    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize(
    "data, complaint",
    [
        (RunsCode(), "print; only numpy arrays"),
        ([1], "holds a list"),
        ({"ids": [1]}, "has no boxes, objectness_logits"),
        ({**content(), "ids": [7]}, "'ids': 1, 'boxes': 2"),
        (content({7: (np.zeros((3, 5)), np.zeros(3))}), r"image 7 needs R x 4 .*\(3, 5\)"),
        (content({7: (np.zeros((3, 4)), np.zeros(2))}), r"image 7 needs R x 4 .*\(2,\)"),
        (content(bbox_mode=BoxMode.XYXY_REL), "bbox_mode is XYXY_REL"),
        (content(bbox_mode=99), "99 is not a value of BoxMode"),
        (content({7: IMAGES[7], "7": IMAGES[7]}), "has image 7 twice: as number 2"),
    ],
)
def test_unusable_files(tmp_path, data, complaint, capsys):
    path = save(tmp_path / "rpn.pkl", data)
    with pytest.raises(ProposalSetError, match=f"rpn.pkl.*{complaint}"):
        import_proposals(path, "detectron2", "toys", tmp_path / "set", dicts(7))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("damaged", [b"", b"not a pickle", pickle.dumps(content())[:-40]])
def test_damaged_files(tmp_path, damaged):
    (tmp_path / "rpn.pkl").write_bytes(damaged)
    with pytest.raises(ProposalSetError, match="rpn.pkl cannot be read as a proposal file"):
        import_proposals(tmp_path / "rpn.pkl", "detectron2", "toys", tmp_path / "set", dicts(7))
