"""The mapper: proposals follow their image through the transforms, from the set of the image's data set."""

import pickle

from frcnn_alt import get_cfg
from frcnn_alt.proposals import ProposalDatasetMapper, ProposalSet, ProposalSetError, ProposalSetWriter

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from PIL import Image

WIDTH, HEIGHT = 60, 40
BOXES = np.array(
    [[10, 5, 30, 25], [0, 0, WIDTH, HEIGHT], [50, 30, 70, 45], [61, 0, 65, 5], [20, 20, 21, 39]], np.float32
)
SCORES = np.array([0.5, 4.0, 3.0, 2.0, 1.0], np.float32)


@pytest.fixture
def image(tmp_path):
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[5:25, 10:30] = 255  # BOXES[0]
    Image.fromarray(pixels).save(tmp_path / "7.png")
    annotation = {"bbox": [10, 5, 20, 20], "bbox_mode": 1, "category_id": 2}
    name = str(tmp_path / "7.png")
    return {"file_name": name, "image_id": 7, "height": HEIGHT, "width": WIDTH, "annotations": [annotation]}


def write(path, name, boxes=BOXES, scores=SCORES):
    with ProposalSetWriter(path, name) as writer:
        writer.add(7, boxes, scores)
    return ProposalSet(path)


def make_mapper(sets, augmentations=(), topk=2000, **arguments):
    return ProposalDatasetMapper(
        is_train=True,
        augmentations=list(augmentations),
        image_format="BGR",
        proposal_sets=sets,
        precomputed_proposal_topk=topk,
        **arguments,
    )


def test_proposals_by_score_clipped_and_without_empty_ones(tmp_path, image):
    proposals = make_mapper({"toys": write(tmp_path / "set", "toys")})(image)["proposals"]
    assert proposals.image_size == (HEIGHT, WIDTH)
    # [61, 0, 65, 5] lies outside of the image; [50, 30, 70, 45] sticks out of it.
    expected = [[0, 0, 60, 40], [50, 30, 60, 40], [20, 20, 21, 39], [10, 5, 30, 25]]
    assert proposals.proposal_boxes.tensor.tolist() == expected
    assert proposals.objectness_logits.tolist() == [4.0, 3.0, 1.0, 0.5]


def test_topk_counts_after_empty_ones_are_left_out(tmp_path, image):
    proposals = make_mapper({"toys": write(tmp_path / "set", "toys")}, topk=3)(image)["proposals"]
    assert proposals.objectness_logits.tolist() == [4.0, 3.0, 1.0]


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_proposals_move_with_the_pixels(tmp_path, image, scale, flip):
    augmentations = [T.RandomFlip(flip), T.Resize((HEIGHT * scale, WIDTH * scale))]
    mapped = make_mapper({"toys": write(tmp_path / "set", "toys", BOXES[:1], SCORES[:1])}, augmentations)(image)
    rows, columns = torch.where(mapped["image"][0] > 127)
    pixels = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
    assert torch.equal(mapped["proposals"].proposal_boxes.tensor, pixels)
    assert torch.equal(mapped["instances"].gt_boxes.tensor, pixels)
    assert (columns.min() < WIDTH * scale / 4) == (flip == 0.0)


@pytest.mark.parametrize("augmentations", [[], [T.RandomFlip(1.0), T.Resize((80, 120))]])
def test_image_without_proposals(tmp_path, image, augmentations):
    empty = write(tmp_path / "set", "toys", np.zeros((0, 4)), np.zeros(0))
    proposals = make_mapper({"toys": empty}, augmentations)(image)["proposals"]
    assert proposals.proposal_boxes.tensor.shape == (0, 4)
    assert proposals.objectness_logits.shape == (0,)


def test_everything_else_is_the_stock_mapper_and_the_dict_is_not_changed(tmp_path, image):
    before = pickle.dumps(image)
    stock = DatasetMapper(is_train=True, augmentations=[T.RandomFlip(1.0)], image_format="BGR")(image)
    mapped = make_mapper({"toys": write(tmp_path / "set", "toys")}, [T.RandomFlip(1.0)])(image)
    assert pickle.dumps(image) == before
    assert set(mapped) == {*stock, "proposals"}
    assert torch.equal(mapped["image"], stock["image"])
    assert torch.equal(mapped["instances"].gt_boxes.tensor, stock["instances"].gt_boxes.tensor)


def test_equal_ids_of_two_data_sets(tmp_path, image):
    first = write(tmp_path / "0", "voc07", BOXES[:1], SCORES[:1])
    second = write(tmp_path / "1", "voc12", BOXES[1:2], SCORES[1:2])
    mapper = make_mapper({"voc07": first, "voc12": second})
    for name, box in [("voc07", BOXES[0]), ("voc12", BOXES[1])]:
        proposals = mapper({**image, "dataset_name": name})["proposals"]
        assert proposals.proposal_boxes.tensor.tolist() == [box.tolist()]
    for name in ({}, {"dataset_name": "coco"}):
        with pytest.raises(ProposalSetError, match="image 7 has .* proposals of voc07, voc12 only"):
            mapper({**image, **name})


def test_image_that_the_set_lacks(tmp_path, image):
    mapper = make_mapper({"toys": write(tmp_path / "set", "toys")})
    with pytest.raises(ProposalSetError, match=r"\(toys\) has no image 8"):
        mapper({**image, "image_id": 8})


@pytest.mark.parametrize("is_train, topk", [(True, 3), (False, 2)])
def test_from_config(tmp_path, image, is_train, topk):
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.RANDOM_FLIP = (80,), 20, "none"
    cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN, cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 3, 2
    mapper = ProposalDatasetMapper(cfg, is_train, proposal_sets={"toys": write(tmp_path / "set", "toys")})
    mapped = pickle.loads(pickle.dumps(mapper))(image)  # data loader workers may get it pickled
    assert len(mapped["proposals"]) == topk
    scale = 2 if is_train else 0.5
    assert mapped["proposals"].proposal_boxes.tensor[0].tolist() == [0, 0, WIDTH * scale, HEIGHT * scale]
    assert ("instances" in mapped) == is_train
