"""Flipped images get the set computed on flipped images; nothing that is drawn at random changes by that."""

import pickle

from frcnn_alt import get_cfg
from frcnn_alt.data.loader import build_train_loader
from frcnn_alt.proposals import ProposalDatasetMapper, ProposalSetError

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from oracles.flipping import flip_box, flip_pixels
from PIL import Image
from proposal_sets import write

WIDTH, HEIGHT = 60, 40
# Inclusive pixels of the image that is not flipped; the second set is what a network found on the flipped image.
UNFLIPPED, FLIPPED = [[10, 5, 29, 24], [0, 0, 59, 39]], [[12, 6, 30, 24], [1, 0, 59, 38], [40, 20, 59, 39]]


def continuous(boxes):
    return np.array(boxes, np.float32) + np.float32([0, 0, 1, 1])


def scored(boxes):
    return continuous(boxes), np.arange(len(boxes), 0, -1, dtype=np.float32)


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(1)
    dicts = []
    for number in range(4):
        name = str(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(name)
        annotation = {"bbox": [10, 5, 20, 20], "bbox_mode": 1, "category_id": 2}
        record = {"file_name": name, "image_id": number, "height": HEIGHT, "width": WIDTH, "dataset_name": "toys"}
        dicts.append({**record, "annotations": [annotation]})
    return dicts


@pytest.fixture
def sets(tmp_path, images):
    """(proposal sets, flipped proposal sets) of the mapper."""
    ids = [image["image_id"] for image in images]
    return tuple(
        {"toys": write(tmp_path / name, {image_id: scored(boxes) for image_id in ids})}
        for name, boxes in [("set", UNFLIPPED), ("set.flipped", FLIPPED)]
    )


def make_mapper(sets, augmentations=(), is_train=True):
    return ProposalDatasetMapper(
        is_train=is_train,
        augmentations=list(augmentations),
        image_format="RGB",
        proposal_sets=sets[0],
        flipped_proposal_sets=sets[1],
        precomputed_proposal_topk=2000,
    )


def check(mapped, image, recomputed):
    """Pixels say whether the image was flipped; returns that."""
    rows = np.asarray(Image.open(image["file_name"]))[:, :, 0].tolist()
    seen = mapped["image"][0].tolist()
    flipped = seen == flip_pixels(rows)
    assert flipped or seen == rows
    boxes = FLIPPED if flipped and recomputed else UNFLIPPED
    wanted = continuous([flip_box(box, WIDTH) for box in boxes] if flipped else boxes)
    assert mapped["proposals"].proposal_boxes.tensor.tolist() == wanted.tolist()
    assert mapped["proposals"].objectness_logits.tolist() == list(range(len(boxes), 0, -1))
    return flipped


@pytest.mark.parametrize("recomputed", [True, False])
def test_each_image_has_the_proposals_of_the_way_round_it_is(images, sets, recomputed):
    mapper = make_mapper(sets if recomputed else (sets[0], None), [T.RandomFlip()])
    mapper = pickle.loads(pickle.dumps(mapper))  # as data loader workers may get it
    np.random.seed(0)
    ways = [check(mapper(images[n % 4]), images[n % 4], recomputed) for n in range(40)]
    assert 10 < sum(ways) < 30


@pytest.mark.parametrize("recomputed", [True, False])
def test_what_is_drawn_at_random_is_the_stock_mappers(images, sets, recomputed):
    """Same flips, same objects and the same state of the generator afterwards, so that batches stay as they are."""
    augmentations = [T.ResizeShortestEdge((20, 60), sample_style="range"), T.RandomFlip(), T.RandomBrightness(0.5, 1.5)]
    stock = DatasetMapper(is_train=True, augmentations=augmentations, image_format="RGB")
    mapper = make_mapper(sets if recomputed else (sets[0], None), augmentations)
    for seed in range(20):
        np.random.seed(seed)
        wanted = stock(images[seed % 4])
        state = np.random.get_state()
        np.random.seed(seed)
        mapped = mapper(images[seed % 4])
        assert torch.equal(mapped["image"], wanted["image"])
        assert torch.equal(mapped["instances"].gt_boxes.tensor, wanted["instances"].gt_boxes.tensor)
        assert set(mapped) == {*wanted, "proposals"}
        assert pickle.dumps(np.random.get_state()) == pickle.dumps(state)


@pytest.mark.parametrize(
    "augmentations, boxes",
    [
        ([T.RandomFlip(1.0), T.RandomFlip(1.0)], UNFLIPPED),  # there and back
        (
            [T.RandomFlip(1.0, horizontal=False, vertical=True)],
            [[x1, 39 - y2, x2, 39 - y1] for x1, y1, x2, y2 in UNFLIPPED],
        ),
        ([T.NoOpTransform()], UNFLIPPED),
        ([T.AugmentationList([T.RandomFlip(1.0)])], [flip_box(box, WIDTH) for box in FLIPPED]),
    ],
    ids=["twice", "vertically", "not at all", "in a list of its own"],
)
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # fvcore's vertical flip
def test_only_an_odd_number_of_horizontal_flips_is_a_flip(images, sets, augmentations, boxes):
    mapped = make_mapper(sets, augmentations)(images[0])
    assert mapped["proposals"].proposal_boxes.tensor.tolist() == continuous(boxes).tolist()


def test_the_flipped_set_follows_the_image_through_other_transforms(images, sets):
    augmentations = [T.CropTransform(10, 0, 50, 40), T.RandomFlip(1.0), T.Resize((HEIGHT * 2, 50 * 2))]
    proposals = make_mapper(sets, augmentations)(images[0])["proposals"]
    cropped = [[max(x1 - 10, 0), y1, x2 - 10, y2] for x1, y1, x2, y2 in FLIPPED]  # the left 10 columns are gone
    wanted = continuous([flip_box(box, 50) for box in cropped]) * 2
    assert proposals.proposal_boxes.tensor.tolist() == wanted.tolist()
    assert proposals.image_size == (HEIGHT * 2, 100)


def test_at_test_no_image_is_flipped(images, sets):
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST = HEIGHT
    mapper = ProposalDatasetMapper(cfg, False, proposal_sets=sets[0], flipped_proposal_sets=sets[1], image_format="RGB")
    assert not any(check(mapper(image), image, recomputed=True) for image in images)


def test_a_flipped_set_that_lacks_the_image_or_the_data_set_is_named(tmp_path, images, sets):
    other = write(tmp_path / "other", {99: scored(FLIPPED)})
    with pytest.raises(ProposalSetError, match="other.* has no image 0"):
        make_mapper((sets[0], {"toys": other}), [T.RandomFlip(1.0)])(images[0])
    with pytest.raises(ProposalSetError, match='image 0 has "dataset_name" toys, but there are proposals of dogs only'):
        make_mapper((sets[0], {"dogs": other}), [T.RandomFlip(1.0)])(images[0])


def batches(images, sets, workers, start=0, count=6):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = ("toys",), 2, workers
    mapper = make_mapper(sets, [T.RandomFlip()])
    loader = iter(build_train_loader(cfg, images, mapper, seed=5, start_iteration=start))
    return [list(next(loader)) for _ in range(count)]


def test_batches_are_a_function_of_the_iteration_with_any_number_of_workers(images, sets):
    undisturbed = [image for batch in batches(images, sets, workers=0) for image in batch]
    by_id = {image["image_id"]: image for image in images}
    ways = [check(mapped, by_id[mapped["image_id"]], recomputed=True) for mapped in undisturbed]
    assert 0 < sum(ways) < len(ways)
    for workers in (0, 2):
        resumed = [image for batch in batches(images, sets, workers, start=2, count=4) for image in batch]
        for mapped, wanted in zip(resumed, undisturbed[4:]):
            assert torch.equal(mapped["image"], wanted["image"])
            boxes = (mapped["proposals"].proposal_boxes.tensor, wanted["proposals"].proposal_boxes.tensor)
            assert torch.equal(*boxes)
