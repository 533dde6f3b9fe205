"""Which files an evaluation means, once a run has been moved, wherever its results are to go."""

import os

from frcnn_alt.engine import default_argument_parser, setup_cfg
from frcnn_alt.engine.trained_network import find_trained_network

import pytest
from miniature import STEPS, moved_run


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_step_of_a_moved_run_has_the_proposals_that_moved_with_it(whole, tmp_path, own_catalogs, elsewhere):
    folder = moved_run(whole, str(tmp_path / "moved"))
    step = os.path.join(folder, STEPS[1])
    words = ["OUTPUT_DIR", str(tmp_path / "results")] if elsewhere else []
    args = default_argument_parser().parse_args(["--config-file", os.path.join(step, "config.yaml"), *words])
    cfg = setup_cfg(args)
    assert all(file.startswith(whole.OUTPUT_DIR) for file in cfg.DATASETS.PROPOSAL_FILES_TEST)
    find_trained_network(cfg, args)
    (file,) = cfg.DATASETS.PROPOSAL_FILES_TEST
    assert file.startswith(os.path.join(folder, STEPS[0])) and os.path.isdir(file)
    assert os.path.join(step, "model_final.pth") == cfg.MODEL.WEIGHTS
    assert (str(tmp_path / "results") if elsewhere else step) == cfg.OUTPUT_DIR


def test_a_run_that_is_evaluated_elsewhere_keeps_its_network(whole, tmp_path, own_catalogs):
    file = os.path.join(whole.OUTPUT_DIR, "config.yaml")
    args = default_argument_parser().parse_args(["--config-file", file, "OUTPUT_DIR", str(tmp_path)])
    cfg = setup_cfg(args)
    find_trained_network(cfg, args)
    assert str(tmp_path) == cfg.OUTPUT_DIR
    assert os.path.join(whole.OUTPUT_DIR, "model_final.pth") == cfg.MODEL.WEIGHTS
