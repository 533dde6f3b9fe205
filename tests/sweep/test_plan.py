"""What a sweep plans: each thing once, in an order in which it can be done, with its cost."""

import os
import shutil

from frcnn_alt.engine import ConfigError
from frcnn_alt.sweep.plan import plan_sweep
from frcnn_alt.sweep.read_table import read_table

import pytest
from planning import altered, plan_of


def test_a_config_file_that_is_edited_makes_what_it_trains_stale(small_table, tmp_path):
    base = tmp_path / "zf.yaml"
    base.write_text(small_table.with_name("zf.yaml").read_text())

    def plan():
        return plan_sweep([read_table(str(small_table), {"zf": str(base)})], str(tmp_path / "sweep"), (0,), "tools")

    def all_done(marks):
        return all(marks.is_done(name) for name in marks.tasks)

    first = plan().marks
    for name, task in first.tasks.items():
        os.makedirs(task.folder, exist_ok=True)
        first.set(name, 1.0)
    assert all_done(first)
    base.write_text(base.read_text().replace("NUM_WORKERS: 0", "NUM_WORKERS: 1"))  # no matter to what comes out
    assert all_done(plan().marks)
    base.write_text(base.read_text().replace("STEP4: {MAX_ITER: 1,", "STEP4: {MAX_ITER: 2,"))
    marks = plan().marks
    assert not any(marks.is_done(name) for name in ("shared-seed0", "rpn-seed0", "test-small-rpn_5-seed0"))
    assert marks.is_done("selective_search-zf") and marks.is_done("vgg_rpn-seed0")


def test_weights_are_made_for_the_backbone_of_the_base_alone(small_table, tmp_path):
    path = altered(
        small_table,
        tmp_path,
        "  shared: {base: zf}",
        "  shared: {base: zf, opts: {MODEL.BACKBONE.WIDTH_MULTIPLIER: 0.1}}",
    )
    problems = plan_of(path, tmp_path, opts=["MODEL.WEIGHTS", "nowhere.pth"], pretrain=True).problems
    assert problems == (
        "network shared: its MODEL.BACKBONE is not that of its base, of which --pretrain makes weights.",
    )


def test_a_detector_on_proposals_of_other_data(small_table, tmp_path):
    path = altered(
        small_table,
        tmp_path,
        "proposals: selective_search}",
        "proposals: selective_search, opts: {DATASETS.VOC_LAYOUT.TEST_SPLITS: [trainval]}}",
    )
    (problem,) = plan_of(path, tmp_path).problems
    assert "network ss: its data sets are not those of its base" in problem


def test_tasks_come_after_what_they_need(small_table, tmp_path):
    plan = plan_of(small_table, tmp_path, seeds=(0, 1))
    assert not plan.problems
    seen = set()
    for name, task in plan.tasks.items():
        assert set(task.needs) <= seen
        seen.add(name)
    assert all(one.task in plan.tasks for one in plan.measurements["small"])


def test_steps_of_several_networks_are_trained_once(small_table, tmp_path):
    tasks = plan_of(small_table, tmp_path).tasks
    # 4 + 3 + 2 + 1 iterations of the four steps, 3 of Fast R-CNN, 4 of the other RPN
    cost = {name: (task.iterations, task.shared_iterations) for name, task in tasks.items() if task.kind == "train"}
    assert cost == {
        "shared-seed0": (10, 0),
        "unshared-seed0": (0, 7),
        "ss-seed0": (3, 0),
        "rpn-seed0": (0, 4),
        "vgg_rpn-seed0": (4, 0),
    }
    for name in ("unshared-seed0", "rpn-seed0"):
        command = tasks[name].command
        at = command.index("--steps")
        assert command[at + 1 : at + 4] == ("none", "--from-run", tasks["shared-seed0"].folder)


def test_proposals_are_made_once_for_all_rows_and_as_many_as_the_most_need(small_table, tmp_path):
    plan = plan_of(small_table, tmp_path)
    made = [task for task in plan.tasks.values() if task.kind == "proposals"]
    of_rpn = [task for task in made if "rpn-seed0" in task.needs]
    assert len(of_rpn) == 3  # ranked, and two random draws
    assert all("MODEL.RPN.POST_NMS_TOPK_TEST 15" in task.command_line for task in of_rpn)
    assert len([task for task in made if "selective_search" in task.command]) == 1
    five, fifteen = (plan.tasks[f"test-small-rpn_{n}-seed0"] for n in (5, 15))
    assert five.needs == fifteen.needs and five.command_line.endswith("TOPK_TEST 5")


def test_a_row_as_trained_has_no_test_of_its_own(small_table, tmp_path):
    plan = plan_of(small_table, tmp_path)
    by_row = {one.row: one for one in plan.measurements["small"]}
    assert by_row["shared"].task == "shared-seed0"  # its 20 boxes are those of the config
    assert by_row["unshared"].task == "test-small-unshared-seed0"  # 10 are not
    assert by_row["ss"].task == "ss-seed0"


def test_random_draws_differ_in_their_seed_alone(small_table, tmp_path):
    plan = plan_of(small_table, tmp_path)
    tests = [plan.tasks[one.task] for one in plan.measurements["small"] if one.row == "no_cls"]
    assert len(tests) == 2
    first, second = (plan.tasks[task.needs[1]].command for task in tests)
    different = [(a, b) for a, b in zip(first, second) if a != b]
    assert different[1:] == [("0", "1")] and first[first.index("0") - 1] == "MODEL.RPN.RANDOM_DRAW_SEED"


def test_seeds_share_only_what_has_no_seed(small_table, tmp_path):
    tasks = plan_of(small_table, tmp_path, seeds=(0, 1)).tasks
    assert [name for name in tasks if "seed" not in name] == ["selective_search-zf"]
    assert tasks["rpn-seed1"].needs == ("shared-seed1",)


def test_training_options_keep_steps_apart(small_table, tmp_path):
    path = altered(
        small_table, tmp_path, "unshared: {base: zf,", "unshared: {base: zf, opts: {SCHEDULE.STEP2.MAX_ITER: 5},"
    )
    tasks = plan_of(path, tmp_path).tasks
    assert (tasks["unshared-seed0"].iterations, tasks["unshared-seed0"].shared_iterations) == (5, 4)
    assert "--steps 2- --from-run" in tasks["unshared-seed0"].command_line


def test_two_tables_share_networks_and_refuse_others_of_the_same_name(small_table, tmp_path):
    same = altered(small_table, tmp_path, "A small table", "Another", "same")
    alone, both = plan_of(small_table, tmp_path).tasks, plan_of([small_table, same], tmp_path).tasks
    assert {name for name in both if "-same-" not in name} == set(alone)
    assert {both[name].kind for name in set(both) - set(alone)} == {"evaluate"}


def test_rows_of_two_tables_that_are_called_alike_are_measured_each(small_table, tmp_path):
    other = altered(small_table, tmp_path, "boxes: 5}", "boxes: 7}", "other")
    plan = plan_of([small_table, other], tmp_path)
    commands = [
        plan.tasks[next(one.task for one in plan.measurements[table] if one.row == "rpn_5")].command_line
        for table in ("small", "other")
    ]
    assert [command.rsplit(" ", 1)[1] for command in commands] == ["5", "7"]


def test_two_tables_whose_networks_differ(small_table, tmp_path):
    other = altered(small_table, tmp_path, "shared: {base: zf}", "shared: {base: vgg}", "other")
    with pytest.raises(ConfigError, match="network shared of table other is not that of small"):
        plan_of([small_table, other], tmp_path)
    with pytest.raises(ConfigError, match="Two tables are called small"):
        plan_of([small_table, small_table], tmp_path)


@pytest.mark.parametrize(
    "opts, problem",
    [
        (
            ["MODEL.WEIGHTS", "nowhere.pth"],
            "network ss, network rpn, network vgg_rpn: MODEL.WEIGHTS nowhere.pth",
        ),
        (["MODEL.RPN.NMS_TRESH", "0.5"], "no config key MODEL.RPN.NMS_TRESH. Did you mean MODEL.RPN.NMS_THRESH"),
        (["DATASETS.VOC_LAYOUT.ROOT", "/nowhere"], "there is no folder /nowhere"),
        (["SEED", "3"], "SEED: the sweep sets that itself"),
        (["OUTPUT_DIR", "elsewhere"], "OUTPUT_DIR: the sweep sets that itself"),
        (["SCHEDULE.STEP4_BOX_PREDICTOR", "old"], "SCHEDULE.STEP4_BOX_PREDICTOR is 'old'"),
    ],
)
def test_what_is_wrong_is_known_before_anything_runs(small_table, tmp_path, opts, problem):
    plan = plan_of(small_table, tmp_path, opts=opts)
    assert any(problem in text for text in plan.problems), plan.problems
    assert "To be mended first" in str(plan)


def test_a_wrong_key_of_a_row_is_known_before_anything_runs(small_table, tmp_path):
    path = altered(small_table, tmp_path, "{MODEL.RPN.RANKING_TEST: False}", "{MODEL.RPN.RANKIN_TEST: False}")
    (problem,) = plan_of(path, tmp_path).problems
    assert problem.startswith("row no_cls") and "proposal_test" in problem
    assert "Did you mean MODEL.RPN.RANKING_TEST" in problem


def test_malformed_data_are_listed_once_for_all_networks(small_table, tmp_path):
    data = tmp_path / "tiny_shapes"
    shutil.copytree(small_table.with_name("tiny_shapes"), data)
    (gone,) = list((data / "JPEGImages").glob("*0.jpg"))[:1]
    gone.unlink()
    (problem,) = plan_of(small_table, tmp_path, opts=["DATASETS.VOC_LAYOUT.ROOT", str(data)]).problems
    assert gone.name in problem and "network shared, network unshared, network ss" in problem


def test_missing_initial_weights_are_made_once_for_each_base(small_table, tmp_path):
    plan = plan_of(small_table, tmp_path, seeds=(0, 1), opts=["MODEL.WEIGHTS", "nowhere.pth"], pretrain=True)
    assert not plan.problems
    made = [name for name, task in plan.tasks.items() if task.kind == "pretrain"]
    assert made == ["pretrain-zf", "pretrain-vgg"]
    assert "pretrain-vgg" in plan.tasks["vgg_rpn-seed1"].needs
    assert (plan.tasks["rpn-seed1"].iterations, plan.tasks["rpn-seed1"].shared_iterations) == (0, 4)


def test_weights_are_made_where_the_trainings_look_for_them(small_table, tmp_path):
    """The later of two values wins, whatever the command line of the sweep says."""
    tasks = plan_of(small_table, tmp_path, opts=["MODEL.WEIGHTS", "nowhere.pth"], pretrain=True).tasks
    made, used = tasks["pretrain-zf"].command, tasks["shared-seed0"].command
    last = [command[len(command) - 1 - command[::-1].index("MODEL.WEIGHTS") + 1] for command in (made, used)]
    assert last == [os.path.join(tasks["pretrain-zf"].folder, "weights.pth")] * 2


def test_networks_that_start_from_another(small_table, tmp_path):
    path = altered(
        small_table,
        tmp_path,
        "  shared: {base: zf}\n",
        "  shared: {base: zf, weights_of: rpn}\n  only: {base: zf, weights_of: rpn, classes: voc, trained: false}\n",
    )
    path.write_text(path.read_text().replace("network: ss, paper", "network: only, paper"))
    plan = plan_of(path, tmp_path)
    assert not plan.problems
    shared = plan.tasks["shared-seed0"]
    assert shared.needs == ("rpn-seed0",)
    assert shared.command[-2:] == ("MODEL.WEIGHTS", os.path.join(plan.tasks["rpn-seed0"].folder, "model_final.pth"))
    converted = plan.tasks["rpn-for-only-seed0"]
    assert converted.needs == ("rpn-seed0",) and "--classes voc" in converted.command_line
    only = plan.tasks["only-seed0"]
    assert converted.name in only.needs and only.command[-1].startswith(converted.folder)
    assert only.kind == "evaluate" and "--eval-only" in only.command and only.iterations == 0
    assert next(one for one in plan.measurements["altered"] if one.row == "ss").results.endswith("results.json")


def test_a_network_that_starts_from_itself(small_table, tmp_path):
    path = altered(small_table, tmp_path, "  shared: {base: zf}", "  shared: {base: zf, weights_of: shared}")
    assert any("rests on itself" in problem for problem in plan_of(path, tmp_path).problems)


def test_the_plan_tells_rows_sharing_and_cost(small_table, tmp_path):
    text = str(plan_of(small_table, tmp_path))
    assert "step1_rpn and step2_fast_rcnn of shared-seed0" in text
    assert "17 iterations of training, 17 of them still to be done; 11 more are shared" in text
    assert "0 of 16 tasks are done" in text


def test_paths_are_the_same_however_the_folder_is_spelled(small_table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = [read_table(str(small_table))]
    folders = ("out", "./out", "other/../out", str(tmp_path / "out"))
    commands = [
        [task.command for task in plan_sweep(tables, folder, (0,), "tools").tasks.values()] for folder in folders
    ]
    assert all(of_folder == commands[0] for of_folder in commands)
