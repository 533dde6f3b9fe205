"""Reading table files: what is in them, and what is said of a mistake."""

from dataclasses import replace
from pathlib import Path

from frcnn_alt.engine import ConfigError
from frcnn_alt.sweep.plan import plan_sweep
from frcnn_alt.sweep.read_table import choose_rows, read_table

import pytest
import yaml

TABLES = Path(__file__).resolve().parents[2] / "configs" / "tables"
SMALL = {
    "title": "A table",
    "metrics": {"mAP": "bbox/AP50", "AP": "bbox/AP"},
    "columns": ["method"],
    "bases": {"zf": "zf.yaml"},
    "networks": {"shared": {"base": "zf", "overlays": ["../overlays/a.yaml"]}},
    "rows": [{"name": "one", "cells": ["RPN"], "network": "shared", "paper": [59.9, None]}],
}


def _write(folder, content):
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_what_a_file_says(tmp_path):
    table = read_table(_write(tmp_path, SMALL))
    assert table.name == "small" and table.columns == ("method",)
    assert table.bases == {"zf": str(tmp_path / "zf.yaml")}
    assert [str(Path(file).resolve()) for file in table.networks["shared"].overlays] == [
        str(tmp_path.parent / "overlays" / "a.yaml")
    ]
    (row,) = table.rows
    assert row.paper == {"mAP": 59.9} and row.boxes is None and row.draws == 1 and row.measure == "detections"


def test_a_base_of_the_command_line_and_a_table_over_another(tmp_path):
    _write(tmp_path, SMALL)
    (tmp_path / "smaller.yaml").write_text('_BASE_: "small.yaml"\ntitle: "Another"\n')
    table = read_table(str(tmp_path / "smaller.yaml"), {"zf": "/elsewhere/mine.yaml"})
    assert (table.name, table.title) == ("smaller", "Another")
    assert table.bases == {"zf": "/elsewhere/mine.yaml"} and len(table.rows) == 1


def _changed(path, value):
    content = yaml.safe_load(yaml.safe_dump(SMALL, sort_keys=False))
    *folders, last = path
    place = content
    for key in folders:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("titel",), "x", "'titel' is not known; did you mean title"),
        (("title",), None, "needs title"),
        (("networks", "shared", "base"), "zg", "network shared, base: 'zg' is not known; there are zf"),
        (("networks", "shared", "proposals"), "selektive_search", "did you mean selective_search"),
        (("networks", "shared", "weights_of"), "coco", "weights_of: 'coco' is not known"),
        (("networks", "shared", "opts"), [1], "network shared, opts: is list"),
        (("networks", "shared", "overlays"), "a.yaml", "network shared: overlays is 'a.yaml', expected a list"),
        (("networks", "shared", "trained"), "no", "network shared: trained is 'no', expected true or false"),
        (("networks", "a/b"), {"base": "zf"}, "the name 'a/b': has other characters"),
        (("name",), "a b", "the name 'a b': has other characters"),
        (("rows", 0, "boxes"), "many", "row 1: boxes is 'many', expected a whole number from 1 on"),
        (("rows", 0, "boxes"), -5, "row 1: boxes is -5"),
        (("rows", 0, "draws"), 0, "row 1: draws is 0"),
        (("rows", 0, "paper"), "x", "row 1: paper is 'x', expected numbers"),
        (("rows", 0, "paper"), {"mapp": 3}, "row 1, paper: 'mapp' is not known; there are mAP, AP"),
        (("rows", 0, "cells"), 5, "row 1: cells is 5, expected a list"),
        (
            ("rows", 0, "proposal_test"),
            {"MODEL.RPN.NMS_TEST": False},
            "proposal_test has no effect on what it measures (detections)",
        ),
        (("rows",), 3, "rows: is int, expected a list"),
        (("rows",), [], "rows: there is none"),
        (("statements",), 3, "statements: is int, expected a list"),
        (("columns",), "method", "columns is 'method', expected a list"),
        (("title",), 5, "title is 5, expected a text"),
        (("metrics",), {}, "metrics: there is none"),
        (("metrics", "mAP"), 5, "metric mAP: is 5, expected the place of a number"),
        (("metrics", "mAP"), "bbox/AP50 * x", "metric mAP: 'bbox/AP50 * x' is no place of a number"),
        (("_BASE_",), "../other.yaml", "cannot be read as a table"),
        (("rows", 0, "network"), "sharred", "row one, network: 'sharred' is not known; did you mean shared"),
        (("rows", 0, "proposals"), "nothing", "row one, proposals: 'nothing' is not known"),
        (("rows", 0, "cells"), ["a", "b"], "row one: has 2 cells for 1 columns"),
        (("rows", 0, "paper"), [1, 2, 3], "row 1: paper has 3 numbers for 2 metrics"),
        (("rows", 0, "measure"), "speed", "row one, measure: 'speed' is not known"),
        (("rows", 0, "boxs"), 3, "row 1: 'boxs' is not known; did you mean boxes"),
        (("rows",), [*SMALL["rows"], *SMALL["rows"]], "row one: there are two of that name"),
        (("statements",), [{"text": "x", "better": "one", "worse": "two"}], "'two' is not known"),
        (("statements",), [{"text": "x", "better": "one"}], "statement 1: needs worse"),
        (("networks",), ["shared"], "networks: is list, expected lines of KEY: VALUE"),
        (("networks", "shared", "opts"), {5: 3}, "network shared, opts: 5 is int, expected a text"),
        (("bases", "zf"), ["zf.yaml"], "base zf: is ['zf.yaml'], expected a config file"),
        (("bases", 1), "zf.yaml", "bases: 1 is int, expected a text"),
        (("metrics", 50), "bbox/AP50", "metrics: 50 is int, expected a text"),
        (("rows", 0, "test"), {"OUTPUT_DIR": "x"}, "row one: OUTPUT_DIR is the sweep's own to set"),
    ],
)
def test_mistakes_are_named(tmp_path, path, value, message):
    with pytest.raises(ConfigError) as error:
        read_table(_write(tmp_path, _changed(path, value)))
    assert message in str(error.value) and "small.yaml" in str(error.value)


@pytest.mark.parametrize(
    "measure, key, value",
    [
        ("recall", "boxes", 77),
        ("recall", "test", {"MODEL.RPN.NMS_TEST": False}),
        ("time", "draws", 3),
        ("time", "proposals", "edge_boxes"),
    ],
)
def test_what_a_measure_does_not_look_at_is_refused(tmp_path, measure, key, value):
    content = _changed(("rows", 0, "measure"), measure)
    content["rows"][0][key] = value
    with pytest.raises(ConfigError, match=f"row one: {key} has no effect on what it measures .{measure}"):
        read_table(_write(tmp_path, content))


def test_a_table_over_one_of_another_folder_or_over_itself(tmp_path):
    _write(tmp_path, SMALL)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.yaml").write_text('_BASE_: "../small.yaml"\n')
    with pytest.raises(ConfigError, match="lies in another folder"):
        read_table(str(tmp_path / "below" / "a.yaml"))
    (tmp_path / "loop.yaml").write_text('_BASE_: "loop.yaml"\n')
    with pytest.raises(ConfigError, match="cannot be read as a table"):
        read_table(str(tmp_path / "loop.yaml"))


def test_a_table_over_one_of_the_same_folder_however_it_is_spelled(tmp_path):
    _write(tmp_path, SMALL)
    (tmp_path / "a.yaml").write_text('_BASE_: "./small.yaml"\ntitle: "Another"\n')
    assert read_table(str(tmp_path / "a.yaml")).title == "Another"


def test_recall_of_proposals_by_name(tmp_path):
    content = _changed(("rows", 0, "measure"), "recall")
    content["rows"][0].update(proposals="selective_search", network="sharred")
    with pytest.raises(ConfigError, match="row one, network: 'sharred' is not known; did you mean shared"):
        read_table(_write(tmp_path, content))
    content["rows"][0].update(proposals="shared", network="shared")
    with pytest.raises(ConfigError, match="row one: network has no effect on what it measures"):
        read_table(_write(tmp_path, content))


def test_some_rows_alone(tmp_path):
    content = {**SMALL, "rows": [{**SMALL["rows"][0], "name": name} for name in ("one", "two", "three")]}
    statements = [{"text": f"{a} over {b}", "better": a, "worse": b} for a, b in (("one", "two"), ("one", "three"))]
    table = read_table(_write(tmp_path, {**content, "statements": statements}))
    (chosen,) = choose_rows([table], ["three", "one"])
    assert [row.name for row in chosen.rows] == ["one", "three"]
    assert [one.text for one in chosen.statements] == ["one over three"]
    with pytest.raises(ConfigError, match="--rows: there is no row 'four' in the tables, but one, two, three"):
        choose_rows([table], ["four"])
    with pytest.raises(ConfigError, match="--rows names none of table other"):
        choose_rows([table, replace(table, name="other", rows=table.rows[1:2])], ["one"])


@pytest.mark.parametrize("content", ["", "5", "title: {a: 1}\n_BASE_: small.yaml"])
def test_what_is_no_table(tmp_path, content):
    _write(tmp_path, SMALL)
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(ConfigError, match="odd.yaml"):
        read_table(str(tmp_path / "odd.yaml"))


def test_a_table_in_another_encoding(tmp_path):
    (tmp_path / "odd.yaml").write_bytes(b"title: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read as a table"):
        read_table(str(tmp_path / "odd.yaml"))


def test_no_such_file_and_no_yaml(tmp_path):
    with pytest.raises(ConfigError, match="Table file not found"):
        read_table(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "broken.yaml").write_text("rows: [")
    with pytest.raises(ConfigError, match="cannot be read as a table"):
        read_table(str(tmp_path / "broken.yaml"))
    with pytest.raises(ConfigError, match="'zg' is not known"):
        read_table(_write(tmp_path, SMALL), {"zg": "a.yaml"})


# Of SPEC 8.1: (what the row's cells hold, the paper's number).
TABLE_2 = [
    ("SS 2000 SS 2000", 58.7),
    ("EB 2000 EB 2000", 58.6),
    ("RPN+ZF, shared 2000 RPN+ZF, shared 300", 59.9),
    ("RPN+ZF, unshared 2000 RPN+ZF, unshared 300", 58.7),
    ("SS 2000 RPN+ZF 100", 55.1),
    ("SS 2000 RPN+ZF 300", 56.8),
    ("SS 2000 RPN+ZF 1000", 56.3),
    ("SS 2000 RPN+ZF (no NMS) 6000", 55.2),
    ("SS 2000 RPN+ZF (no cls) 100", 44.6),
    ("SS 2000 RPN+ZF (no cls) 300", 51.4),
    ("SS 2000 RPN+ZF (no cls) 1000", 55.8),
    ("SS 2000 RPN+ZF (no reg) 300", 52.1),
    ("SS 2000 RPN+ZF (no reg) 1000", 51.3),
    ("SS 2000 RPN+VGG 300", 59.2),
]


def test_table_2_is_the_papers():
    table = read_table(str(TABLES / "table2.yaml"))
    assert [(" ".join(row.cells), row.paper["mAP, %"]) for row in table.rows] == TABLE_2


# Of SPEC 8.2, 8.4, 8.6 to 8.8, 8.10, 8.11, in the order of the rows.
NUMBERS = {
    "table3": [[66.9], [70.0], [68.5], [69.9], [73.2], [78.8]],
    "table5": [[141, 10, 47, 198], [31, 3, 25, 59]],
    "table8": [[65.8], [66.7], [68.8], [67.9], [69.8], [69.9]],
    "table9": [[67.2], [68.9], [69.9], [69.1]],
    "table10": [[58.7], [53.8], [53.9]],
    "table11": [[38.6, 18.9], [41.5, 21.2]],
    "table12": [[69.9], [73.2], [76.1], [78.8]],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_other_tables_are_the_papers(name):
    table = read_table(str(TABLES / f"{name}.yaml"))
    assert [list(row.paper.values()) for row in table.rows] == NUMBERS[name]


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_and_keys_of_all_tables_exist(path, own_catalogs, tmp_path):
    plan = plan_sweep([read_table(str(path))], str(tmp_path), [0], "tools", pretrain=True)
    of_data = ("in the data (", "DATASETS.VOC_LAYOUT.ROOT is")  # VOC, COCO and the images of the demo may not be here
    assert not [problem for problem in plan.problems if not any(text in problem for text in of_data)]
