"""Scaling to the number of processes: plan, manifest, config hash and training have the same numbers, scaled once."""

import json
import os

from frcnn_alt.data import register_datasets
from frcnn_alt.engine import (
    AlternatingTrainer,
    SingleStepTrainer,
    build_schedule,
    configure_step,
    default_argument_parser,
    main,
    run_command_line,
)
from frcnn_alt.engine.world_size import number_of_processes, planned_for, scale_to_processes

import pytest
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from miniature import CONFIGS, run, tiny_config
from two_processes import on_two_processes


def dry_run(shapes, *words):
    base = ["--config-file", os.path.join(CONFIGS, "Base-RCNN-ZF.yaml"), "--dry-run", *words]
    return run_command_line(main, default_argument_parser().parse_args([*base, "DATASETS.VOC_LAYOUT.ROOT", shapes]))


def cells(text, step):
    """The last two cells of a step's rows in the plan's table: iterations x images, learning rates."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {step} "))
    first, second = ([cell.strip() for cell in line.split("|")[-3:-1]] for line in lines[start : start + 2])
    return [*first, second[1]]


def test_a_dry_run_plans_for_the_processes_that_are_asked_for(shapes, capsys):
    assert dry_run(shapes, "--num-gpus", "8", "SOLVER.REFERENCE_WORLD_SIZE", "1") == 0
    plan = capsys.readouterr().out
    assert cells(plan, "step1_rpn") == ["10000 x 8", "0.008", "0.0008 from 7500"]
    assert cells(plan, "step2_fast_rcnn") == ["5000 x 16", "0.008", "0.0008 from 3750"]
    assert (
        "note: step4_fast_rcnn: scaled from 1 to 8 processes, as SOLVER.REFERENCE_WORLD_SIZE asks: IMS_PER_BATCH "
        "2 -> 16, BASE_LR 0.001 -> 0.008, MAX_ITER 40000 -> 5000, STEPS (30000,) -> (3750,), CHECKPOINT_PERIOD "
        "5000 -> 625." in plan
    )
    assert "note: 8 processes share each batch." in plan


def test_nothing_is_scaled_for_the_number_that_the_config_is_meant_for(shapes, capsys):
    assert dry_run(shapes, "SOLVER.REFERENCE_WORLD_SIZE", "1") == 0
    plan = capsys.readouterr().out
    assert cells(plan, "step1_rpn") == ["80000 x 1", "0.001", "0.0001 from 60000"]
    assert "scaled" not in plan and "processes" not in plan


def test_without_the_key_a_batch_that_cannot_be_shared_is_refused(shapes, capsys):
    assert dry_run(shapes, "--num-gpus", "2") == 1
    plan = capsys.readouterr().out
    assert cells(plan, "step2_fast_rcnn") == ["40000 x 2", "0.001", "0.0001 from 30000"]
    to_mend = [line for line in plan.splitlines() if line.startswith("TO MEND")]
    assert [line.split(" is ")[0] for line in to_mend] == [f"TO MEND: SCHEDULE.STEP{n}.IMS_PER_BATCH" for n in (1, 3)]
    assert all("SOLVER.REFERENCE_WORLD_SIZE" in line for line in to_mend)


def test_opts_of_a_step_are_scaled_too_and_short_runs_keep_checkpoints(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 1
    cfg.SCHEDULE.STEP1.OPTS = ["SOLVER.MAX_ITER", 80, "SOLVER.WARMUP_ITERS", 16]
    with planned_for(8):
        step_cfg = configure_step(cfg, build_schedule(cfg)["step1_rpn"], "out")
    solver = step_cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.MAX_ITER, solver.WARMUP_ITERS) == (16, 10, 2)
    assert solver.CHECKPOINT_PERIOD == 1  # 2 / 8 would be none
    assert DefaultTrainer.auto_scale_workers(step_cfg, 8) is step_cfg  # the training finds nothing left to scale


def test_a_drop_that_is_rounded_to_the_end_is_left_out(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.REFERENCE_WORLD_SIZE = 10, (6, 9), 1
    cfg.SOLVER.IMS_PER_BATCH = 1
    with planned_for(4):
        solver = scale_to_processes(cfg).SOLVER
    assert (solver.MAX_ITER, solver.STEPS) == (2, ())


def test_a_plan_made_for_others_ends_with_its_context():
    with pytest.raises(KeyError), planned_for(3):
        assert number_of_processes() == 3
        raise KeyError
    assert number_of_processes() == 1


def test_a_single_training(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.merge_from_list(["TRAINER", "SingleStepTrainer", "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed"])
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.REFERENCE_WORLD_SIZE = 2, 0.02, 2
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 100, (60, 80)
    with planned_for(8):
        plan = SingleStepTrainer(cfg).plan()
    assert plan.problems == []
    (entry,) = plan.steps
    assert (entry["ims_per_batch"], entry["max_iter"], entry["lr_steps"], entry["base_lr"]) == (8, 25, [15, 20], 0.08)
    assert "The training is scaled from 2 to 8 processes" in plan.remarks[0]
    assert "8 processes share each batch." in plan.remarks
    cfg.SOLVER.IMS_PER_BATCH = 3
    with planned_for(8):
        (problem,) = SingleStepTrainer(cfg).plan().problems
    assert problem.startswith("SOLVER.IMS_PER_BATCH is 3")


def run_registered(cfg):
    register_datasets(cfg)
    run(cfg)
    return AlternatingTrainer(cfg, resume=True).plan().problems


def test_plan_manifest_hash_and_training_have_the_same_numbers(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run")
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 1
    for number in range(1, 5):
        step = cfg.SCHEDULE[f"STEP{number}"]
        step.IMS_PER_BATCH, step.MAX_ITER, step.STEPS, step.BASE_LR = 1, 8, (6,), 0.0005
    # Each process finds, having trained, that the run may be resumed: the hashes are those of its plan.
    assert on_two_processes(run_registered, cfg) == [[], []]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for entry in manifest["steps"]:
        numbers = [entry[key] for key in ("ims_per_batch", "max_iter", "lr_steps", "base_lr")]
        assert numbers == [2, 4, [3], 0.001]
        with open(tmp_path / "run" / entry["name"] / "config.yaml") as file:
            solver = CfgNode.load_cfg(file).SOLVER
        assert [solver.IMS_PER_BATCH, solver.MAX_ITER, list(solver.STEPS), solver.BASE_LR] == numbers
        lines = (tmp_path / "run" / entry["name"] / "metrics.json").read_text().splitlines()
        last = json.loads(lines[-1])
        assert last["iteration"] == 3 and last["lr"] == pytest.approx(0.0001)
    # One process would train with other numbers.
    (problem,) = AlternatingTrainer(cfg, resume=True).plan().problems
    assert "step1_rpn was made by 2 processes" in problem and "resume it with as many" in problem
