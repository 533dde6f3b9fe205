"""Stored proposals inside COCO's crowds are not trained on (SPEC 6.5), against an oracle that counts pixels."""

from fractions import Fraction

from frcnn_alt import get_cfg
from frcnn_alt.proposals import ProposalDatasetMapper, leave_out_crowds

import numpy as np
import pytest
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from oracles.crowds import trained_on
from PIL import Image
from proposal_sets import write

WIDTH, HEIGHT = 30, 20
SHARE = Fraction(7, 10)  # py-faster-rcnn's


def annotation(box, mode=BoxMode.XYWH_ABS, **flags):
    box = BoxMode.convert([float(value) for value in box], BoxMode.XYXY_ABS, mode)
    return {"bbox": box, "bbox_mode": mode, "category_id": 0, **flags}


def record(*annotations):
    return {"image_id": 7, "width": WIDTH, "height": HEIGHT, "annotations": list(annotations)}


def kept(proposals, image, share=SHARE, topk=2000):
    """Indices of the proposals that are left, told by their scores."""
    scores = np.arange(len(proposals), 0, -1, dtype=np.float32)
    boxes = np.array(proposals, np.float32).reshape(-1, 4)
    left, left_scores = leave_out_crowds(boxes, scores, image, float(share), topk)
    indices = [len(proposals) - int(score) for score in left_scores]
    np.testing.assert_array_equal(left, boxes[indices])
    return indices


@st.composite
def boxes(draw, outside=0, least=1):
    x1 = draw(st.integers(-outside, WIDTH - 1))
    y1 = draw(st.integers(-outside, HEIGHT - 1))
    return [
        x1,
        y1,
        draw(st.integers(x1 + least, max(WIDTH + outside, x1 + least))),
        draw(st.integers(y1 + least, max(HEIGHT + outside, y1 + least))),
    ]


@given(
    proposals=st.lists(boxes(outside=6, least=0), max_size=12),
    crowds=st.lists(boxes(outside=3), max_size=3),
    objects=st.lists(boxes(), max_size=2),
    share=st.sampled_from([SHARE, Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)]),
    topk=st.sampled_from([2000, 5]),
    mode=st.sampled_from([BoxMode.XYWH_ABS, BoxMode.XYXY_ABS]),
)
def test_as_by_counting_pixels(proposals, crowds, objects, share, topk, mode):
    annotations = [annotation(box, mode, iscrowd=1) for box in crowds]
    annotations += [annotation(box, mode, iscrowd=0) for box in objects]
    wanted = trained_on(proposals, crowds, HEIGHT, WIDTH, share, topk) if crowds else list(range(len(proposals)))
    assert kept(proposals, record(*annotations), share, topk) == wanted


@pytest.mark.parametrize("side", range(1, 20))
def test_exactly_seven_tenths_is_kept_and_one_pixel_more_is_not(side):
    image = {**record(), "width": 400, "height": 400}
    proposal = [0, 0, 10 * side, side]
    for crowd, wanted in (([0, 0, 7 * side, side], [0]), ([0, 0, 7 * side + 1, side], [])):
        assert kept([proposal], {**image, "annotations": [annotation(crowd, iscrowd=1)]}) == wanted


def test_two_crowds_that_hold_it_together_do_not_count_as_one():
    halves = [annotation([0, 0, 5, 10], iscrowd=1), annotation([5, 0, 10, 10], iscrowd=1)]
    assert kept([[0, 0, 10, 10]], record(*halves)) == [0]


def test_the_share_is_of_the_proposal_and_not_of_the_union():
    """A small proposal in a large crowd overlaps it by next to nothing in terms of IoU."""
    assert kept([[3, 3, 6, 6], [0, 0, 30, 20]], record(annotation([0, 0, 12, 12], iscrowd=1))) == [1]


@pytest.mark.parametrize("flags", [{"iscrowd": 1, "difficult": 1}, {"iscrowd": 0}, {}])
def test_objects_and_difficult_objects_are_no_crowds(flags):
    assert kept([[3, 3, 6, 6]], record(annotation([0, 0, 12, 12], **flags))) == [0]


def test_the_best_are_taken_before_those_in_crowds_are_dropped():
    image = record(annotation([0, 0, 10, 10], iscrowd=1))
    proposals = [[1, 1, 5, 5], [12, 1, 20, 5], [2, 2, 6, 6], [14, 1, 20, 5]]
    assert kept(proposals, image, topk=3) == [1]
    assert kept(proposals, record(annotation([0, 0, 10, 10])), topk=3) == [0, 1, 2, 3]  # as without the key


PROPOSALS = [[0, 0, 8, 8], [4, 4, 14, 9], [20, 5, 30, 20], [5, 1, 12, 8]]


def mapped(tmp_path, image, is_train, augmentations, **keys):
    cfg = get_cfg()
    for key, value in keys.items():
        cfg.DATASETS[key] = value
    name = tmp_path / "7.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(name)
    scores = np.arange(len(PROPOSALS), 0, -1, dtype=np.float32)
    sets = {"toys": write(tmp_path / "set", {7: (np.array(PROPOSALS, np.float32), scores)})}
    mapper = ProposalDatasetMapper(cfg, is_train, proposal_sets=sets, augmentations=augmentations)
    return mapper({**image, "file_name": str(name)})["proposals"]


@pytest.mark.parametrize("flipped", [False, True])
def test_training_images_come_without_them(tmp_path, flipped):
    """Crowds are those of the image as it is on the disk, whatever is done to its pixels."""
    image = record(annotation([0, 0, 9, 9], iscrowd=1), annotation([20, 5, 29, 19], iscrowd=0))
    augmentations = [T.Resize((HEIGHT * 3, WIDTH * 3)), *([T.RandomFlip(1.0)] if flipped else [])]
    left = mapped(tmp_path, image, True, augmentations, PROPOSAL_CROWD_THRESH=0.7)
    wanted = trained_on(PROPOSALS, [[0, 0, 9, 9]], HEIGHT, WIDTH, SHARE, 2000)
    assert wanted == [1, 2, 3]  # of the last, 28 of 49 pixels
    boxes = np.array(PROPOSALS, np.float32)[wanted] * 3
    if flipped:
        boxes = np.stack([WIDTH * 3 - boxes[:, 2], boxes[:, 1], WIDTH * 3 - boxes[:, 0], boxes[:, 3]], axis=1)
    np.testing.assert_allclose(left.proposal_boxes.tensor, boxes, atol=1e-4)
    assert left.objectness_logits.tolist() == [len(PROPOSALS) - index for index in wanted]


@pytest.mark.parametrize(
    "is_train, keys", [(True, {}), (False, {"PROPOSAL_CROWD_THRESH": 0.7}), (True, {"PROPOSAL_CROWD_THRESH": -1.0})]
)
def test_all_are_kept_by_default_and_at_test(tmp_path, is_train, keys):
    image = record(annotation([0, 0, 9, 9], iscrowd=1), annotation([20, 5, 29, 19], iscrowd=0))
    assert len(mapped(tmp_path, image, is_train, [], **keys)) == len(PROPOSALS)


def test_topk_of_a_training_is_that_of_the_config(tmp_path):
    image = record(annotation([0, 0, 9, 9], iscrowd=1), annotation([20, 5, 29, 19], iscrowd=0))
    keys = {"PROPOSAL_CROWD_THRESH": 0.7, "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2}
    assert len(mapped(tmp_path, image, True, [], **keys)) == 1
