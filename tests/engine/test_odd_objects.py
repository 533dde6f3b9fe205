"""Images without objects, without an inside anchor, without proposals, with difficult objects or of one pixel alone.

One tiny data set has them all, and passes through all four steps.
"""

import json
import math
import os

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data import load_training_dicts, register_datasets
from frcnn_alt.proposals import ProposalSet

import numpy as np
import pytest
import torch
from miniature import CONFIGS, STEPS, run, tiny_config
from voc_files import write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")

# image -> (width, height), its objects: x, y, width, height, and whether it is a crowd, which VOC calls difficult
IMAGES = {
    "ordinary": ((112, 84), [(10, 10, 40, 40, 0), (60, 20, 40, 50, 0)]),
    "large": ((112, 84), [(20, 5, 60, 70, 0)]),
    "nothing": ((112, 84), []),
    "difficult": ((84, 112), [(5, 5, 50, 60, 1)]),
    "one pixel": ((112, 84), [(50, 40, 1, 1, 0), (111, 83, 1, 1, 0), (0, 0, 1, 1, 0), (10, 10, 30, 30, 0)]),
    "one pixel alone": ((84, 112), [(30, 30, 1, 1, 0)]),
    "a line": ((112, 84), [(0, 40, 112, 1, 0)]),
    "no inside anchor": ((500, 4), [(100, 0, 200, 4, 0)]),  # 1000 x 8 in the network; anchors have 11 at least
    "one row": ((900, 1), [(100, 0, 300, 1, 0)]),
    "no proposal": ((3, 3), [(0, 0, 2, 3, 0)]),  # smaller than MIN_SIZE, 4 pixels of the original image
    "1 x 1": ((1, 1), [(0, 0, 1, 1, 0)]),
    "whole": ((112, 84), [(0, 0, 112, 84, 0)]),
    "same twice": ((84, 112), [(20, 30, 40, 40, 0), (20, 30, 40, 40, 0)]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    contents = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}, {"id": 2, "name": "other"}]}
    for number, (name, (size, objects)) in enumerate(IMAGES.items(), start=1):
        write_image(folder / f"{name}.png", size, number)
        entry = {"id": number, "file_name": f"{name}.png", "width": size[0], "height": size[1]}
        contents["images"].append(entry)
        for *box, crowd in objects:
            annotation = {"id": len(contents["annotations"]) + 1, "image_id": number, "category_id": 1}
            contents["annotations"].append({**annotation, "bbox": box, "iscrowd": crowd, "area": box[2] * box[3]})
    (folder / "odd.json").write_text(json.dumps(contents))
    return folder


@pytest.mark.parametrize(
    ("preset", "net", "filter_empty"),
    [("paper", "ZF", True), ("paper", "VGG16", False), ("pyfrcnn", "ZF", False), ("pyfrcnn", "VGG16", True)],
)
def test_all_of_them_pass_through_all_steps(preset, net, filter_empty, folder, shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run", net=net, exact=True)
    if preset == "pyfrcnn":
        cfg.merge_from_file(os.path.join(CONFIGS, "presets", "pyfrcnn.yaml"))
    cfg.DATASETS.VOC_LAYOUT.ROOT = ""
    for side in ("TRAIN", "TEST"):
        cfg.DATASETS.COCO_JSON[f"{side}_JSON"] = str(folder / "odd.json")
        cfg.DATASETS.COCO_JSON[f"{side}_IMAGES"] = str(folder)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = filter_empty
    for number in range(1, 5):
        step = cfg.SCHEDULE[f"STEP{number}"]
        step.MAX_ITER, step.STEPS, step.IMS_PER_BATCH = len(IMAGES), (8,), 1  # every image once
    register_datasets(cfg)
    assert len(load_training_dicts(cfg)) == len(IMAGES)
    results = run(cfg)

    for step in STEPS:
        folder_of_step = os.path.join(cfg.OUTPUT_DIR, step)
        with open(os.path.join(folder_of_step, "metrics.json")) as file:
            values = [value for line in file for key, value in json.loads(line).items() if "loss" in key]
        assert values and all(map(math.isfinite, values))
        for tensor in read_checkpoint(os.path.join(folder_of_step, "model_final.pth"))["model"].values():
            assert torch.isfinite(tensor.double()).all()
    proposals = ProposalSet(os.path.join(cfg.OUTPUT_DIR, "step1_rpn", "proposals", cfg.DATASETS.TRAIN[0]))
    counts = {name: len(proposals[number][1]) for number, name in enumerate(IMAGES, start=1)}
    assert counts["no proposal"] == counts["1 x 1"] == 0 and counts["nothing"] > 0
    assert math.isfinite(results["bbox"]["AP"]) and np.isfinite(results["bbox"]["AP50-thing"])
