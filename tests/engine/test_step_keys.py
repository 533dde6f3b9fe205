"""Which trainings have a step in common, known from their configs; the trainings themselves are the oracle."""

from frcnn_alt.engine.schedule import build_schedule
from frcnn_alt.engine.step_keys import step_keys

import pytest
import torch
from miniature import run, tiny_config, weights_of


def _keys(cfg, **values):
    cfg = cfg.clone()
    for key, value in values.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return step_keys(cfg, build_schedule(cfg))


@pytest.mark.parametrize("name, steps", [("unshared", 2), ("rpn", 1)])
def test_shorter_schedules_are_the_beginning_of_the_four_steps(whole, name, steps):
    four = _keys(whole)
    assert _keys(whole, SCHEDULE__NAME=name) == dict(list(four.items())[:steps])
    assert len(set(four.values())) == 4


def test_steps_of_equal_key_end_with_equal_weights(whole, shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run", weights=whole.MODEL.WEIGHTS, exact=True)
    cfg.SCHEDULE.NAME = "rpn"
    run(cfg)
    ours, theirs = (weights_of(folder, "step1_rpn") for folder in (cfg.OUTPUT_DIR, whole.OUTPUT_DIR))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert _keys(cfg)["step1_rpn"] == _keys(whole)["step1_rpn"]


@pytest.mark.parametrize(
    "key, value, equal_steps",
    [
        ("OUTPUT_DIR", "elsewhere", 4),
        ("DATALOADER__NUM_WORKERS", 3, 4),
        ("SCHEDULE__ROUNDS", 2, 4),
        ("SCHEDULE__STEP4__MAX_ITER", 9, 3),
        ("SCHEDULE__STEP4_BOX_PREDICTOR", "new", 3),
        ("SCHEDULE__STEP3__BASE_LR", 0.5, 2),
        ("SCHEDULE__STEP2__MAX_ITER", 9, 1),
        ("SEED", 4, 0),
        ("MODEL__WEIGHTS", "other.pth", 0),
        ("MODEL__RPN__BBOX_REG_LOSS_WEIGHT", 1.0, 0),
        ("MODEL__PIXEL_MEAN_IMAGE", "mean.npy", 0),
        ("INPUT__RANDOM_FLIP", "none", 0),
        ("SCHEDULE__PROPOSALS__FLIPPED_IMAGES", "mirrored", 0),
    ],
)
def test_what_a_key_changes_is_not_shared(whole, key, value, equal_steps):
    before, after = _keys(whole), _keys(whole, **{key: value})
    steps = ["step1_rpn", "step2_fast_rcnn", "step3_rpn", "step4_fast_rcnn"]
    assert [name for name in steps if before[name] == after[name]] == steps[:equal_steps]


def test_a_detector_on_other_proposal_files_is_another(whole):
    detectors = [
        _keys(whole, SCHEDULE__NAME="fast_rcnn", DATASETS__PROPOSAL_FILES_TRAIN=(file,)) for file in ("a", "b", "a")
    ]
    assert detectors[0] == detectors[2] != detectors[1]


def test_without_a_seed_no_step_is_shared(whole):
    with pytest.raises(ValueError, match="SEED is negative"):
        _keys(whole, SEED=-1)
