"""Detectors remember their classes, and are not measured on others."""

import shutil

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data import register_datasets
from frcnn_alt.data.shapes import CLASSES
from frcnn_alt.engine import AlternatingTrainer, default_argument_parser, main, run_command_line
from frcnn_alt.engine.single_step import SingleStepTrainer

import pytest
import torch
from miniature import STEPS, another, problems_of, run, weights_in

REVERSED = tuple(reversed(CLASSES))


def record_of(path):
    return read_checkpoint(str(path)).get("frcnn_alt", {})


def without_memory(path, to):
    checkpoint = read_checkpoint(str(path))
    checkpoint["frcnn_alt"] = {key: value for key, value in checkpoint["frcnn_alt"].items() if key != "classes"}
    torch.save(checkpoint, to)
    return str(to)


def reordered(cfg, shapes, names=REVERSED):
    """The same images with their classes in another order; called otherwise, for the name stands for other classes."""
    cfg = cfg.clone()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.DATASETS.VOC_LAYOUT.ROOT, cfg.DATASETS.VOC_LAYOUT.CLASSES = shapes, names
    register_datasets(cfg)
    return cfg


def test_detectors_remember_and_proposal_networks_have_nothing_to(whole):
    assert record_of(f"{whole.OUTPUT_DIR}/model_final.pth")["classes"] == list(CLASSES)
    remembered = {step: record_of(weights_in(whole.OUTPUT_DIR, step)).get("classes") for step in STEPS}
    assert remembered == {step: list(CLASSES) if "fast_rcnn" in step else None for step in STEPS}


@pytest.mark.usefixtures("own_catalogs")
def test_a_given_detector_of_other_classes_is_refused(whole, shapes, tmp_path):
    cfg = reordered(another(whole, tmp_path, "4"), shapes)
    cfg.SCHEDULE.GIVEN_RUN = whole.OUTPUT_DIR
    (problem,) = problems_of(cfg, resume=False)
    assert problem.startswith("step2_fast_rcnn is given: ") and "class 0 (of 4, from 0 on) is 'cross'" in problem
    assert "'triangle'" in problem and "tools/convert_weights.py" in problem


@pytest.mark.usefixtures("own_catalogs")
def test_a_given_detector_that_does_not_remember_is_taken_at_its_word_and_remembers_from_then_on(
    whole, shapes, tmp_path
):
    cfg = reordered(another(whole, tmp_path, "3-4"), shapes)
    cfg.SCHEDULE.STEP2.GIVEN = without_memory(weights_in(whole.OUTPUT_DIR, STEPS[1]), tmp_path / "of_before.pth")
    run(cfg)
    for file in (weights_in(cfg.OUTPUT_DIR, STEPS[1]), f"{cfg.OUTPUT_DIR}/model_final.pth"):
        assert record_of(file)["classes"] == list(REVERSED)


@pytest.mark.usefixtures("own_catalogs")
def test_evaluation_on_other_classes_is_refused_and_one_of_before_is_not(whole, shapes, tmp_path, capsys):
    cfg = reordered(whole, shapes)
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    weights = f"{whole.OUTPUT_DIR}/model_final.pth"

    def evaluate(file):
        words = ["--config-file", str(tmp_path / "config.yaml"), "--eval-only", "MODEL.WEIGHTS", file]
        status = run_command_line(main, default_argument_parser().parse_args(words))
        return status, capsys.readouterr()

    status, printed = evaluate(weights)
    assert status == 2 and printed.err.count("error:") == 1
    assert f"{weights} is a detector of other classes" in printed.err and "--classes" in printed.err
    assert evaluate(without_memory(weights, tmp_path / "of_before.pth"))[0] == 0


@pytest.mark.usefixtures("own_catalogs")
def test_a_test_set_of_other_classes_is_found_by_the_plan(whole, shapes, tmp_path):
    cfg = another(whole, tmp_path, "")
    cfg.MODEL.WEIGHTS = ""
    assert problems_of(cfg, resume=False) == []
    other = reordered(cfg, shapes)
    cfg.DATASETS.VOC_LAYOUT.ROOT, cfg.DATASETS.TEST = "", other.DATASETS.TEST
    (problem,) = AlternatingTrainer(cfg).plan().problems
    assert problem.startswith(f"DATASETS.TEST: {other.DATASETS.TEST[0]} has other classes than {cfg.DATASETS.TRAIN[0]}")
    assert "class 0 is 'cross' in training, 'triangle' there" in problem
    assert problem in SingleStepTrainer(cfg).plan().problems
    cfg.SCHEDULE.NAME = "rpn"  # whose proposals are of no class
    assert AlternatingTrainer(cfg).plan().problems == []


@pytest.mark.usefixtures("own_catalogs")
def test_one_training_that_begins_with_other_classes_rows_says_so(whole, shapes, tmp_path):
    shutil.copy(f"{whole.OUTPUT_DIR}/model_final.pth", tmp_path / "detector.pth")
    cfg = another(whole, tmp_path, "")
    cfg.MODEL.WEIGHTS = str(tmp_path / "detector.pth")
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS = "fixed"
    said = [SingleStepTrainer(config).plan().remarks for config in (cfg, reordered(cfg, shapes))]
    said = [[remark for remark in remarks if "of other classes" in remark] for remarks in said]
    assert said[0] == [] and len(said[1]) == 1
    assert "rows of class 0, 'cross', begin as those of 'triangle'" in said[1][0]
