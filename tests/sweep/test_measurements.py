"""Which task measures a row: recall, time, detections on proposals that rows share."""

import shutil

import yaml
from planning import altered, plan_of


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
