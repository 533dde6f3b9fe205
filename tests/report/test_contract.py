"""The report of a run that the engine really made: both sides keep to the formats of a run folder."""

import json
import logging
import os
from pathlib import Path
from xml.etree import ElementTree

from frcnn_alt import get_cfg
from frcnn_alt.data import register_datasets
from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import AlternatingTrainer
from frcnn_alt.report import final_table, read_run, write_report, write_tensorboard

import pytest

CONFIGS = os.path.join(os.path.dirname(__file__), "..", "..", "configs")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Four steps of two iterations on six images; those of the test show no disc that is not difficult."""
    root = str(tmp_path_factory.mktemp("data") / "report_shapes")
    make_shapes(root, seed=1, num_trainval=3, num_test=3, size=(112, 84))
    for image_id in Path(root, "ImageSets", "Main", "test.txt").read_text().split():
        path = Path(root, "Annotations", f"{image_id}.xml")
        tree = ElementTree.parse(path)
        for element in tree.iter("object"):
            if element.findtext("name") == "disc":
                element.find("difficult").text = "1"
        tree.write(path)
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(CONFIGS, "Base-RCNN-ZF.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.06
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32, 64]]
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 4
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (84,), 84
    cfg.DATASETS.VOC_LAYOUT.ROOT = root
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SEED = 3
    cfg.OUTPUT_DIR = str(tmp_path_factory.mktemp("run") / "small")
    for number in range(1, 5):
        step = cfg.SCHEDULE[f"STEP{number}"]
        step.MAX_ITER, step.STEPS = 2, (1,)
    register_datasets(cfg)
    os.makedirs(cfg.OUTPUT_DIR)
    logging.disable(logging.WARNING)
    AlternatingTrainer(cfg).train()
    logging.disable(logging.NOTSET)
    return cfg.OUTPUT_DIR


def test_everything_is_found(run_dir):
    run = read_run(run_dir)
    assert run.finished
    assert run.test_datasets == ["report_shapes_test"] == list(run.detections) == list(run.box_results)
    for step in run.steps:
        parts = ("loss_rpn_cls", "loss_rpn_loc") if step.kind == "rpn" else ("loss_cls", "loss_box_reg")
        assert all(step.scalars[name][0] for name in ("total_loss", "lr", *parts))
        assert ("report_shapes_test" in step.recall) == (step.kind == "rpn")
        assert step.seconds > 0


def test_report_table_and_events_are_written(run_dir):
    path = write_report(run_dir)
    write_tensorboard(run_dir)
    with open(os.path.join(run_dir, "results.json")) as file:
        results = json.load(file)
    with open(path) as file:
        page = file.read()
    by_class = {key[5:]: value for key, value in results["bbox"].items() if key.startswith("AP50-")}
    assert len(by_class) >= 4
    assert [name for name, value in by_class.items() if value is None] == ["disc"]  # json has no NaN
    for name, value in by_class.items():
        assert f'<th>{name}</th><td class="number">{"-" if value is None else f"{value:.1f}"}</td>' in page
    assert page.count("<figure ") == 3
    table = final_table(run_dir)
    rows = [line.split() for line in table.splitlines()]
    assert ["disc", "-"] in rows and ["mean", f"{results['bbox']['AP50']:.1f}"] in rows
    assert path in table
