"""Proposal sets that a config names: all that is missing is said at once, before an image is shown to a network."""

from frcnn_alt.data import load_dataset_dicts
from frcnn_alt.engine import AlternatingTrainer, ConfigError, SingleStepTrainer
from frcnn_alt.engine.step_trainer import build_step_model
from frcnn_alt.engine.stored_proposals import check_proposal_sets, open_proposal_sets

import numpy as np
import pytest
from miniature import tiny_config
from proposal_sets import write

BOX, SCORE = np.array([[3, 4, 40, 50]], np.float32), np.zeros(1, np.float32)


@pytest.fixture
def config(shapes, tmp_path):
    """A detector alone, on proposal sets over both splits."""
    cfg = tiny_config(shapes, tmp_path / "run")
    cfg.TRAINER = "SingleStepTrainer"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.LOAD_PROPOSALS = "PrecomputedProposals", True
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR = 2, (1,), 2, 1e-4
    for split in ("TRAIN", "TEST"):
        files = []
        for name in cfg.DATASETS[split]:
            boxes = {
                d["image_id"]: (np.array([d["annotations"][0]["bbox"]], np.float32), SCORE)
                for d in load_dataset_dicts(name)
            }
            write(tmp_path / name, boxes, name)
            files.append(str(tmp_path / name))
        cfg.DATASETS[f"PROPOSAL_FILES_{split}"] = tuple(files)
    return cfg


def test_a_detector_alone_trains_and_is_evaluated_on_stored_proposals(config):
    assert check_proposal_sets(config, "TRAIN") == check_proposal_sets(config, "TEST") == []
    assert list(open_proposal_sets(config, "TEST")) == list(config.DATASETS.TEST)
    assert SingleStepTrainer(config).plan().problems == []
    assert "AP50" in SingleStepTrainer(config).train()["bbox"]


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_heads_keep_the_statistics_that_they_learnt_with(frozen, config):
    config.MODEL.FREEZE_COMPONENTS = ("roi_heads",) if frozen else ()
    model = build_step_model(config)
    SingleStepTrainer(config)._initialize(model)
    assert (model.roi_heads.box_predictor.box2box_transform.std == 1).all() == frozen


@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_a_set_for_each_data_set(split, config):
    config.DATASETS[f"PROPOSAL_FILES_{split}"] = ()
    (problem,) = SingleStepTrainer(config).plan().problems
    assert f"DATASETS.PROPOSAL_FILES_{split} names 0 proposal sets for 1 data sets" in problem


@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_every_missing_file_and_image_is_named(split, config, tmp_path):
    name = config.DATASETS[split][0]
    ids = [d["image_id"] for d in load_dataset_dicts(name)]
    write(tmp_path / "fewer", dict.fromkeys(ids[:-2], (BOX, SCORE)), name)
    (tmp_path / "a.pkl").write_bytes(b"")
    config.DATASETS[split] = (name,) * 3
    files = [str(tmp_path / "fewer"), str(tmp_path / "nowhere"), str(tmp_path / "a.pkl")]
    config.DATASETS[f"PROPOSAL_FILES_{split}"] = tuple(files)
    problems = check_proposal_sets(config, split)
    assert [file in problem for file, problem in zip(files, problems)] == [True] * 3
    assert f"lacks 2 of {len(ids)} images: {', '.join(ids[-2:])}" in problems[0]
    assert "no proposal set" in problems[1] and "is a file, not the folder" in problems[2]
    with pytest.raises(ConfigError) as error:
        open_proposal_sets(config, split)
    assert str(error.value) == "\n".join(problems)


def test_sets_in_the_order_of_other_data_sets_are_told(config):
    """Their images may have equal ids, so that nothing else would notice."""
    names = (*config.DATASETS.TRAIN, *config.DATASETS.TEST)
    files = [*config.DATASETS.PROPOSAL_FILES_TRAIN, *config.DATASETS.PROPOSAL_FILES_TEST]
    config.DATASETS.TRAIN, config.DATASETS.PROPOSAL_FILES_TRAIN = names, tuple(files)
    assert check_proposal_sets(config, "TRAIN") == []
    config.DATASETS.PROPOSAL_FILES_TRAIN = tuple(files[::-1])
    problems = check_proposal_sets(config, "TRAIN")
    for problem, file, made_for, name in zip(problems, files[::-1], names[::-1], names):
        assert f"PROPOSAL_FILES_TRAIN: {file} is of {made_for}, but stands in the place of {name}" in problem
    assert len(problems) == 2


def test_evaluation_names_all_sets_before_the_first_image(config, tmp_path):
    """Also where nobody asked beforehand, and for the second data set of two."""
    name = config.DATASETS.TEST[0]
    config.DATASETS.TEST = (name, config.DATASETS.TRAIN[0])
    config.DATASETS.PROPOSAL_FILES_TEST += (str(tmp_path / "nowhere"),)
    with pytest.raises(ConfigError, match="nowhere"):
        SingleStepTrainer.build_test_loader(config, name)


def test_the_limit_and_the_order_are_those_of_a_test(config, tmp_path):
    name = config.DATASETS.TEST[0]
    ids = [d["image_id"] for d in load_dataset_dicts(name)]
    boxes = np.array([[number, 0, number + 20, 30] for number in range(5)], np.float32)
    write(tmp_path / "five", {i: (boxes, np.arange(5, dtype=np.float32)) for i in ids}, name)
    config.DATASETS.PROPOSAL_FILES_TEST = (str(tmp_path / "five"),)
    config.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN, config.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 2, 3
    loader = AlternatingTrainer.build_test_loader(config, name)
    for number, (image,) in enumerate(loader):
        assert image["image_id"] == ids[number] and "instances" not in image
        assert image["proposals"].proposal_boxes.tensor[:, 0].tolist() == [4, 3, 2]


def test_a_config_without_proposals_needs_none(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    assert check_proposal_sets(cfg, "TRAIN") == check_proposal_sets(cfg, "TEST") == []
    ((image,), *_) = AlternatingTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
    assert "proposals" not in image
