"""Whole runs on two processes: joint training, a step that is given as a file, a seed that is drawn."""

import json
import os

from frcnn_alt.data import register_datasets
from frcnn_alt.engine import (
    AlternatingTrainer,
    build_schedule,
    configure_step,
    main,
    run_command_line,
)
from frcnn_alt.engine.open_manifest import earlier_manifest, open_manifest
from frcnn_alt.engine.step_selection import select_steps
from frcnn_alt.engine.step_trainer import build_step_model
from frcnn_alt.proposals import ProposalSet

import numpy as np
import pytest
import torch
from detectron2.utils import comm
from joint_miniature import arguments
from miniature import tiny_config
from two_processes import at_most, on_two_processes

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")


@pytest.mark.parametrize("kind", ["joint", "joint_nonapproximate"])
def test_joint_training(kind, shapes, tmp_path):
    args = arguments("zf", shapes, tmp_path, "SOLVER.IMS_PER_BATCH", "2", "MODEL.WEIGHTS", "", kind=kind)
    args.num_gpus = 2
    with at_most(120):
        assert run_command_line(main, args) == 0
    assert (tmp_path / "model_final.pth").exists() and list(tmp_path.glob("inference/*/detections.jsonl"))


def train_some_steps(cfg):
    register_datasets(cfg)
    AlternatingTrainer(cfg, resume=True).train()
    comm.synchronize()  # the main process has written
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        return [(step["name"], step["state"], step.get("outputs")) for step in json.load(file)["steps"]]


def test_a_step_that_is_given_as_a_file(shapes, tmp_path):
    """One process writes it in the run's form, both compute its proposals; then both go on with what it was given."""
    cfg = tiny_config(shapes, tmp_path)
    torch.manual_seed(4)
    rpn = build_step_model(configure_step(cfg, build_schedule(cfg)["step1_rpn"], "unused"))
    cfg.SCHEDULE.STEP1.GIVEN = str(tmp_path / "rpn.pth")
    torch.save({"model": rpn.state_dict()}, cfg.SCHEDULE.STEP1.GIVEN)
    cfg.SCHEDULE.RUN_ONLY = "2"
    with at_most(120):
        first, second = on_two_processes(train_some_steps, cfg)
    assert first == second and [state for _, state, _ in first] == ["given", "finished", "pending", "pending"]
    for about in first[0][2]["proposals"].values():
        assert ProposalSet(about["path"]).sha256 == about["sha256"]
    cfg.SCHEDULE.RUN_ONLY, cfg.SCHEDULE.STEP1.GIVEN = "3", ""
    with at_most(120):
        again, _ = on_two_processes(train_some_steps, cfg)
    assert again[:2] == first[:2] and again[2][1] == "finished"


def begin(cfg):
    register_datasets(cfg)
    np.random.seed(comm.get_rank())  # as default_setup does
    schedule = build_schedule(cfg)
    manifest = earlier_manifest(cfg.OUTPUT_DIR, schedule)
    plan, selection = AlternatingTrainer(cfg, resume=True).plan(), select_steps(cfg, schedule, manifest)
    return open_manifest(cfg, schedule, selection, plan, resume=True, config_file="").data["seed"]


def test_a_seed_that_was_drawn_is_the_same_on_all_processes_and_stays(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.SEED = -1
    first, again = on_two_processes(begin, cfg), on_two_processes(begin, cfg)
    assert len({*first, *again}) == 1
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == first[0]
