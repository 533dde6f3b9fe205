"""SPEC 6.5 in a run: what step 2 trains on and measures in images with crowds, and what a single training does."""

import copy

from frcnn_alt.data import load_dataset_dicts
from frcnn_alt.engine import SingleStepTrainer, StepTrainer, check_config
from frcnn_alt.proposals import ProposalSet

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from miniature import run, tiny_config
from oracles.box_statistics import box_statistics_per_class, mirrored
from oracles.flipped_regions import box_statistics_with_flipped_regions
from proposal_sets import write

WIDTH, HEIGHT = 112, 84
CROWD = [0.0, 0.0, 70.0, 60.0]


def share_in_crowd(box):
    x1, y1, x2, y2 = (float(value) for value in box)
    width, height = min(x2, CROWD[2]) - max(x1, CROWD[0]), min(y2, CROWD[3]) - max(y1, CROWD[1])
    return max(width, 0) * max(height, 0) / ((x2 - x1) * (y2 - y1))


def outside(boxes, topk=2000):
    return np.array([box for box in boxes[:topk] if share_in_crowd(box) <= 0.7]).reshape(-1, 4)


@pytest.fixture
def crowded(shapes, tmp_path, own_catalogs):
    """A miniature whose training images each have a crowd."""
    cfg = tiny_config(shapes, tmp_path / "run")
    plain = cfg.DATASETS.TRAIN[0]
    dicts = copy.deepcopy(load_dataset_dicts(plain))
    for image in dicts:
        crowd = {"bbox": list(CROWD), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1}
        image["annotations"].append(crowd)
    DatasetCatalog.register("crowded", lambda: copy.deepcopy(dicts))
    MetadataCatalog.get("crowded").set(thing_classes=MetadataCatalog.get(plain).thing_classes, evaluator_type="none")
    cfg.DATASETS.TRAIN, cfg.DATASETS.VOC_LAYOUT.ROOT = ("crowded",), ""
    cfg.DATASETS.PROPOSAL_CROWD_THRESH = 0.7
    return cfg


def objects_of(dicts):
    annotations = [[a for a in image["annotations"] if not a.get("iscrowd")] for image in dicts]
    boxes = [np.array([a["bbox"] for a in of_image]) for of_image in annotations]
    return boxes, [[a["category_id"] for a in of_image] for of_image in annotations]


def record_step_2(monkeypatch):
    """(batches, statistics at the beginning) of step 2; nothing is run after it."""
    batches, began = [], {}
    stock = StepTrainer.train

    def train(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith("step3_rpn"):
            raise KeyboardInterrupt
        if trainer.cfg.OUTPUT_DIR.endswith("step2_fast_rcnn"):
            began.update({n: v.clone().cpu() for n, v in trainer.unwrapped_model.named_buffers()})
            trainer.unwrapped_model.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0]))
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "train", train)
    return batches, began


@pytest.mark.parametrize("flipped_images", ["recomputed", "mirrored"])
def test_step_2_neither_trains_nor_measures_on_what_lies_in_crowds(flipped_images, crowded, monkeypatch):
    crowded.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = flipped_images
    batches, began = record_step_2(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(crowded)

    dicts = load_dataset_dicts("crowded")
    folder = f"{crowded.OUTPUT_DIR}/step1_rpn/proposals/crowded"
    sets = [ProposalSet(folder)] + ([ProposalSet(f"{folder}.flipped")] if flipped_images == "recomputed" else [])
    stored = [[s[image["image_id"]][0] for image in dicts] for s in sets]
    kept = [[outside(boxes) for boxes in of] for of in stored]
    assert all(0 < len(few) < len(all_) for of, left in zip(stored, kept) for all_, few in zip(of, left))

    seen = [(image["image_id"], image["proposals"].proposal_boxes.tensor.cpu().numpy()) for b in batches for image in b]
    assert seen
    crowd_in = [CROWD, [WIDTH - CROWD[2], CROWD[1], WIDTH - CROWD[0], CROWD[3]]]  # crowds themselves are no objects
    for image in (image for batch in batches for image in batch):
        objects = image["instances"].gt_boxes.tensor.cpu().numpy()
        assert len(objects) > 0 and not any(np.allclose(box, crowd) for box in objects for crowd in crowd_in)
    rows = {image["image_id"]: row for row, image in enumerate(dicts)}
    for image_id, boxes in seen:
        row = rows[image_id]
        ways = [kept[0][row], mirrored(kept[-1][row], WIDTH)]
        assert any(len(way) == len(boxes) and np.allclose(way, boxes, atol=1e-3) for way in ways)

    objects, classes = objects_of(dicts)
    if flipped_images == "recomputed":
        in_flipped = [mirrored(boxes, WIDTH) for boxes in kept[1]]
        mean, std = box_statistics_with_flipped_regions(kept[0], in_flipped, objects, classes, 4, WIDTH)
    else:
        mean, std = box_statistics_per_class(kept[0], objects, classes, 4, width=WIDTH)
    transform = "roi_heads.box_predictor.box2box_transform"
    np.testing.assert_allclose(began[f"{transform}.mean"], mean, atol=1e-5)
    np.testing.assert_allclose(began[f"{transform}.std"], np.maximum(std, 1e-4), atol=1e-5)


def test_a_detector_alone_measures_what_it_trains_on(crowded, tmp_path, monkeypatch):
    dicts = load_dataset_dicts("crowded")
    rng = np.random.default_rng(0)
    boxes = {}
    for image, objects in zip(dicts, objects_of(dicts)[0]):
        near = np.clip(
            np.repeat(objects, 6, axis=0) + rng.uniform(-4, 4, (6 * len(objects), 4)), 0, [WIDTH, HEIGHT] * 2
        )
        order = rng.permutation(len(near))
        boxes[image["image_id"]] = (near[order].astype(np.float32), np.arange(len(near), 0, -1, dtype=np.float32))
    write(tmp_path / "set", boxes, "crowded")
    crowded.TRAINER, crowded.DATASETS.TEST = "SingleStepTrainer", ()
    crowded.MODEL.PROPOSAL_GENERATOR.NAME, crowded.MODEL.LOAD_PROPOSALS = "PrecomputedProposals", True
    crowded.DATASETS.PROPOSAL_FILES_TRAIN = (str(tmp_path / "set"),)
    crowded.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN = topk = 9
    crowded.SOLVER.MAX_ITER, crowded.SOLVER.STEPS, crowded.SOLVER.IMS_PER_BATCH = 1, (), 2
    measured = {}

    def train(trainer):
        measured.update(trainer.unwrapped_model.roi_heads.box_predictor.box2box_transform.named_buffers())

    monkeypatch.setattr(StepTrainer, "train", train)
    SingleStepTrainer(crowded).train()
    kept = [outside(boxes[image["image_id"]][0], topk) for image in dicts]
    assert sum(map(len, kept)) < topk * len(dicts)
    objects, classes = objects_of(dicts)
    mean, std = box_statistics_per_class(kept, objects, classes, 4, width=WIDTH)
    np.testing.assert_allclose(measured["mean"].cpu(), mean, atol=1e-5)
    np.testing.assert_allclose(measured["std"].cpu(), np.maximum(std, 1e-4), atol=1e-5)


@pytest.mark.parametrize("share, problems", [(-1.0, 0), (0.0, 0), (0.7, 0), (1.0, 0), (-0.7, 1), (70.0, 1)])
def test_the_key_is_a_share_or_off(share, problems, shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.DATASETS.PROPOSAL_CROWD_THRESH = share
    found = [problem for problem in check_config(cfg) if "DATASETS.PROPOSAL_CROWD_THRESH" in problem]
    assert len(found) == problems
