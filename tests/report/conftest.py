"""A run folder made up in the format that the engine writes, without any training."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

CLASSES = ["circle", "ring & <star>", "square"]
TEST_SET = "toys_test"
STEPS = [
    # name, kind, iterations, trained, frozen, started from, proposals in
    (
        "step1_rpn",
        "rpn",
        400,
        ["backbone", "proposal_generator"],
        [],
        {"backbone": "weights imagenet.pth", "proposal_generator": "new"},
        None,
    ),
    (
        "step2_fast_rcnn",
        "fast_rcnn",
        300,
        ["backbone", "roi_heads"],
        [],
        {"backbone": "weights imagenet.pth", "roi_heads": "weights imagenet.pth", "roi_heads.box_predictor": "new"},
        "step1_rpn",
    ),
    (
        "step3_rpn",
        "rpn",
        200,
        ["proposal_generator"],
        ["backbone"],
        {"backbone": "step2_fast_rcnn", "proposal_generator": "new"},
        None,
    ),
    (
        "step4_fast_rcnn",
        "fast_rcnn",
        150,
        ["roi_heads"],
        ["backbone"],
        {"backbone": "step2_fast_rcnn", "roi_heads": "step2_fast_rcnn"},
        "step3_rpn",
    ),
]
SECONDS = {"step1_rpn": 95.4, "step2_fast_rcnn": 130.0, "step3_rpn": 41.0, "step4_fast_rcnn": 4030.0}


def recall_of(best):
    """Recalls that fall with the IoU and grow with the number of proposals; `best` at IoU 0.5 for 2000 proposals."""
    recall = {}
    for limit in (50, 100, 300, 1000, 2000):
        values = {p: best * (limit / 2000) ** 0.08 * (1 - ((p - 50) / 50) ** 2) for p in range(50, 100, 5)}
        recall.update({f"recall{p}@{limit}": value for p, value in values.items()})
        recall[f"AR@{limit}"] = sum(values.values()) / len(values)
    return {**recall, "proposals_per_image": 1834.5}


def write_metrics(path, kind, iterations):
    parts = ("loss_rpn_cls", "loss_rpn_loc") if kind == "rpn" else ("loss_cls", "loss_box_reg")
    rng = np.random.default_rng(iterations)
    with open(path, "w") as file:
        for iteration in range(19, iterations, 20):
            losses = [s * (0.15 + math.exp(-iteration / 90)) * rng.uniform(0.85, 1.15) for s in (0.7, 0.4)]
            record = {"iteration": iteration, "total_loss": sum(losses), "lr": 0.001, **dict(zip(parts, losses))}
            file.write(json.dumps(record) + "\n")


def write_detections(run_dir, images):
    """Images with one to three objects; every third has a missed object, every fourth a wrong detection."""
    folder = run_dir / "inference" / TEST_SET
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = [{"dataset": TEST_SET, "classes": CLASSES}]
    for index in range(images):
        file_name = run_dir / "images" / f"{index:03d}.png"
        file_name.parent.mkdir(exist_ok=True)
        image = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        gt = [[4, 10, 28, 34], [30, 24, 56, 50], [54, 5, 76, 27]][: 1 + index % 3]
        for box in gt:
            ImageDraw.Draw(image).rectangle(box, fill=(200, 60, 60))
        image.save(file_name)
        boxes = [[v + 1 for v in box] for box in gt[: len(gt) - (index % 3 == 1)]]
        scores = [0.95 - 0.1 * k for k in range(len(boxes))]
        labels = [k % len(CLASSES) for k in range(len(boxes))]
        if index % 4 == 3:
            boxes, scores, labels = [*boxes, [2, 40, 20, 58]], [*scores, 0.65], [*labels, 1]
        boxes, scores, labels = [*boxes, [0, 0, 9, 9]], [*scores, 0.1], [*labels, 0]
        lines.append(
            {
                "image_id": f"{index:03d}",
                "file_name": str(file_name),
                "width": 80,
                "height": 60,
                "boxes": boxes,
                "scores": scores,
                "labels": labels,
                "gt_boxes": gt,
                "gt_labels": [k % len(CLASSES) for k in range(len(gt))],
                "gt_difficult": [k == 2 for k in range(len(gt))],
            }
        )
    (folder / "detections.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_run(run_dir, finished_steps=4, images=9):
    """Write a run folder of which `finished_steps` steps are finished; with 4, evaluated as well."""
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    entries = []
    for index, (name, kind, iterations, trained, frozen, started_from, proposals_in) in enumerate(STEPS):
        state = "finished" if index < finished_steps else "running" if index == finished_steps else "pending"
        entry = {
            "name": name,
            "kind": kind,
            "state": state,
            "started_from": started_from,
            "trained": trained,
            "frozen": frozen,
            "parameters": {"trained": 57_000_000, "frozen": 2_300_000 if frozen else 0},
            "ims_per_batch": 2,
            "max_iter": iterations,
            "lr_steps": [iterations * 3 // 4],
            "base_lr": 0.001,
            "gamma": 0.1,
            "proposals_in": proposals_in,
            "proposals_out": [TEST_SET] if kind == "rpn" else [],
        }
        if state != "pending":
            folder = run_dir / name
            folder.mkdir(exist_ok=True)
            write_metrics(folder / "metrics.json", kind, iterations if state == "finished" else iterations // 2)
            (folder / "config.yaml").write_text(yaml.safe_dump({"DATASETS": {"TEST": [TEST_SET]}}))
        if state == "finished":
            recall = {TEST_SET: recall_of(88.8 + 3 * index)} if kind == "rpn" else {}
            outputs = {"model": {"path": "x", "sha256": f"{index:064}"}}
            entry.update(seconds=SECONDS[name], recall=recall, outputs=outputs)
        entries.append(entry)
    manifest = {
        "version": 1,
        "name": "zf <4 steps>",
        "schedule": "four_step",
        "seed": 6,
        "command": ["tools/train_net.py", "--config-file", "configs/a b.yaml"],
        "weights_command": ["tools/pretrain_backbone.py", "PRETRAIN.STEPS", "(3,)"],
        "versions": {"python": "3.11.2", "torch": "2.15.0", "detectron2": "0.6"},
        "machine": {"platform": "Linux <x86>", "cpu_cores": 2, "gpu": None},
        "steps": entries,
    }
    if finished_steps == len(STEPS):
        manifest["assembled"] = {"from": {"backbone": "step2_fast_rcnn"}, "path": "x", "sha256": "ab" * 32}
        box = {"AP": 51.26, "AP50": 80.04, "AP75": 55.5}
        box.update({f"AP50-{name}": value for name, value in zip(CLASSES, (91.03, 62.58, 86.51))})
        results = {
            "bbox": box,
            "proposals": {e["name"]: e["recall"] for e in entries if e["recall"]},
            "seconds": {**SECONDS, "evaluation": 12.0, "total": sum(SECONDS.values()) + 12.0},
        }
        (run_dir / "results.json").write_text(json.dumps(results))
        write_detections(run_dir, images)
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    return run_dir


@pytest.fixture(scope="session")
def make_run():
    """The function `write_run`."""
    return write_run


@pytest.fixture
def finished_run(tmp_path):
    """Folder of a finished run."""
    return write_run(tmp_path / "finished")


@pytest.fixture
def unfinished_run(tmp_path):
    """Folder of a run whose third step is running."""
    return write_run(tmp_path / "unfinished", finished_steps=2)
