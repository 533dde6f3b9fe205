"""Trainings that have begun keep the form in which they began, whatever the tables of today would share."""

import json
import os

from planning import altered, plan_of


def _begin(folder, steps):
    """A run's manifest: step -> folder of the run that gave it, or "" of one that is trained there."""
    os.makedirs(folder)
    entries = [
        {"name": name, "state": "running", **({"given": {"run": run, "path": "a", "sha256": "b"}} if run else {})}
        for name, run in steps.items()
    ]
    with open(os.path.join(folder, "manifest.json"), "w") as file:
        json.dump({"version": 1, "steps": entries}, file)


def test_a_training_that_has_begun_stays_as_it_began_and_gives_its_steps(small_table, tmp_path):
    """`unshared` was swept alone; now `shared` is to be trained too."""
    own = {"step1_rpn": "", "step2_fast_rcnn": ""}
    _begin(tmp_path / "sweep" / "runs" / "unshared-seed0", own)
    tasks = plan_of(small_table, tmp_path).tasks
    assert "--from-run" not in tasks["unshared-seed0"].command
    assert f"--steps 3- --from-run {tasks['unshared-seed0'].folder}" in tasks["shared-seed0"].command_line
    assert (tasks["shared-seed0"].iterations, tasks["shared-seed0"].shared_iterations) == (3, 7)


def test_a_training_that_has_begun_with_steps_of_another_keeps_them(small_table, tmp_path):
    other = tmp_path / "sweep" / "runs" / "unshared-seed0"
    _begin(tmp_path / "sweep" / "runs" / "rpn-seed0", {"step1_rpn": str(other)})
    tasks = plan_of(small_table, tmp_path).tasks
    assert f"--steps none --from-run {other}" in tasks["rpn-seed0"].command_line
    table = altered(
        small_table, tmp_path, "unshared: {base: zf,", "unshared: {base: zf, opts: {SCHEDULE.STEP1.MAX_ITER: 9},"
    )
    (problem,) = [text for text in plan_of(table, tmp_path).problems if "network rpn" in text]
    assert "was begun with steps of unshared-seed0, which is not in the tables any more, or has other steps" in problem
