"""Which task measures a row: recall, time, detections on proposals that rows share."""

import os
import shutil

import pytest
import yaml
from planning import altered, plan_of
from scripts import REPOSITORY


def _recall_table(small_table, tmp_path, rows, name="recall", networks=""):
    """A table over the same bases with other rows."""
    content = yaml.safe_load(small_table.read_text())
    content.update(
        yaml.safe_load(f"metrics: {{AR: 0/average_recall/all/0}}\ncolumns: [m]\nstatements: []\nrows: {rows}")
    )
    content["networks"].update(yaml.safe_load(networks) or {})
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_recall_is_of_a_networks_own_data_and_of_2000_proposals(small_table, tmp_path):
    rows = """
  - {name: ss, cells: [SS], measure: recall, proposals: selective_search}
  - {name: rpn, cells: [RPN], measure: recall, network: rpn}
  - {name: trained_on, cells: [RPN], measure: recall, network: on_train}
"""
    networks = "on_train: {base: zf, opts: {DATASETS.VOC_LAYOUT.TEST_SPLITS: [trainval]}}"
    path = _recall_table(small_table, tmp_path, rows, networks=networks)
    plan = plan_of(path, tmp_path, seeds=(0, 1))
    assert not plan.problems
    tasks = {(one.row, one.seed): plan.tasks[one.task] for one in plan.measurements["recall"]}
    assert tasks["ss", 0] == tasks["ss", 1]  # no seed has an influence on it
    rpn, other = tasks["rpn", 0], tasks["trained_on", 0]
    assert "MODEL.RPN.POST_NMS_TOPK_TEST 2000" in plan.tasks[rpn.needs[0]].command_line
    assert "tiny_shapes_test" in rpn.command_line and "tiny_shapes_trainval" in other.command_line
    assert "on_train-seed0/config.yaml" in other.command_line


def test_proposals_without_a_network_are_of_the_tables_own_base(small_table, tmp_path):
    rows = "[{name: ss, cells: [SS], measure: recall, proposals: selective_search}]"
    first, second = (_recall_table(small_table, tmp_path, rows, name) for name in ("first", "second"))
    shutil.copytree(small_table.with_name("tiny_shapes"), tmp_path / "others")
    text = small_table.with_name("zf.yaml").read_text()
    other = tmp_path / "other.yaml"
    other.write_text(text.replace(str(small_table.with_name("tiny_shapes")), str(tmp_path / "others")))
    content = yaml.safe_load(second.read_text())
    content.update(networks={}, bases={"other": str(other)})
    second.write_text(yaml.safe_dump(content, sort_keys=False))
    plan = plan_of([first, second], tmp_path)
    assert not plan.problems
    (task,) = (plan.tasks[one.task] for one in plan.measurements["second"])
    assert task.needs == ("selective_search-other",) and "others_test" in task.command_line


def test_time_is_measured_with_the_first_seed_alone(small_table, tmp_path):
    rows = "[{name: t, cells: [ZF], measure: time, network: shared}]"
    plan = plan_of(_recall_table(small_table, tmp_path, rows), tmp_path, seeds=(0, 1))
    assert [(one.seed, plan.tasks[one.task].kind) for one in plan.measurements["recall"]] == [(0, "time")]


def test_a_row_that_names_no_number_has_the_configs_whatever_others_need(small_table, tmp_path):
    path = altered(small_table, tmp_path, "proposals: rpn, boxes: 15}", "proposals: rpn}")
    plan = plan_of(path, tmp_path)
    task = plan.tasks["test-altered-rpn_15-seed0"]
    assert task.command_line.endswith("DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST 20")  # the base's
    assert "POST_NMS_TOPK_TEST 20" in plan.tasks[task.needs[1]].command_line


def test_boxes_cut_what_the_network_has(small_table, tmp_path):
    """A detector on stored proposals has no RPN whose number could be set."""
    path = altered(small_table, tmp_path, "network: ss, paper: 58.7}", "network: ss, boxes: 7, paper: 58.7}")
    task = plan_of(path, tmp_path).tasks["test-altered-ss-seed0"]
    assert task.command[-2:] == ("DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", "7")


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("proposals: vgg_rpn, boxes: 5}", "proposals: ss, boxes: 5}", "proposals of ss: that network has no RPN"),
        (
            "  rpn: {base: zf,",
            "  rpn: {base: zf, opts: {DATASETS.VOC_LAYOUT.TEST_SPLITS: [trainval]},",
            "proposals rpn are of other images than ss is tested on",
        ),
    ],
)
def test_proposals_that_the_network_cannot_be_tested_on(small_table, tmp_path, old, new, problem):
    problems = plan_of(altered(small_table, tmp_path, old, new), tmp_path).problems
    assert any(problem in text for text in problems), problems


def test_boxes_of_a_detector_of_one_stage(small_table, tmp_path):
    overlay = f"{REPOSITORY}/configs/overlays/one_stage.yaml"
    path = altered(small_table, tmp_path, "  shared: {base: zf}", f'  shared: {{base: zf, overlays: ["{overlay}"]}}')
    assert any("boxes has no effect on shared" in text for text in plan_of(path, tmp_path).problems)


def test_a_detector_that_is_tested_as_it_was_given(small_table, tmp_path):
    """`--eval-only` leaves its config beside its results, and no weights."""
    path = altered(
        small_table,
        tmp_path,
        "  shared: {base: zf}\n",
        "  shared: {base: zf}\n  only: {base: zf, weights_of: shared, trained: false}\n"
        "  further: {base: zf, weights_of: only}\n",
    )
    text = path.read_text().replace("network: unshared, boxes: 10", "network: only, boxes: 10")
    path.write_text(text.replace("network: shared, boxes: 20", "network: further, boxes: 20"))
    plan = plan_of(path, tmp_path)
    assert not plan.problems
    of_shared = os.path.join(plan.tasks["shared-seed0"].folder, "model_final.pth")
    assert plan.tasks["only-seed0"].command[-1] == plan.tasks["further-seed0"].command[-1] == of_shared
    test = plan.tasks["test-altered-unshared-seed0"].command
    assert test[test.index("--config-file") + 1] == os.path.join(
        plan.tasks["only-seed0"].folder, "eval_only", "config.yaml"
    )


def test_recall_of_external_proposals_trains_nothing_and_is_measured_once(small_table, tmp_path):
    """A network may say whose base's images are meant; bases of the same images are one."""
    rows = """
  - {name: ss, cells: [SS], measure: recall, proposals: selective_search}
  - {name: of_vgg, cells: [SS], measure: recall, proposals: selective_search, network: vgg_rpn}
"""
    plan = plan_of(_recall_table(small_table, tmp_path, rows), tmp_path)
    assert not plan.problems
    assert [task.kind for task in plan.tasks.values()] == ["proposals", "recall"]
