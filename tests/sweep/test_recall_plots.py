"""Recall over IoU of a table's rows: which rows have a curve, and what it is called."""

from frcnn_alt.evaluation import RecallCurves
from frcnn_alt.evaluation.recall import OBJECT_SIZES
from frcnn_alt.report.recall_files import write_recall_json
from frcnn_alt.sweep.measurements import Measurement
from frcnn_alt.sweep.recall_plots import recall_plots
from frcnn_alt.sweep.results import RowResult
from frcnn_alt.sweep.table import Row, Table

import numpy as np
import pytest

LIMITS, IOUS = (300, 2000), (0.5, 0.7, 0.9)


def _recall_file(path, height):
    curves = {size: np.full((len(LIMITS), len(IOUS)), height) for size in OBJECT_SIZES}
    average = {size: np.full(len(LIMITS), height) for size in OBJECT_SIZES}
    numbers = dict.fromkeys(OBJECT_SIZES, 5)
    write_recall_json(
        {"x": [RecallCurves("d", "one_to_one", LIMITS, IOUS, curves, average, numbers, 2, 9.0)]}, str(path)
    )
    return str(path)


def _table(*rows):
    rows = tuple(Row(name, cells, "net", measure=measure) for name, cells, measure in rows)
    return Table("t", "T", {"AR": "0/average_recall/all/0"}, ("m", "n"), {}, {}, rows)


def _plots(table, folder, problems=(), done=("ss", "rpn", "other")):
    results = [RowResult(row.name, {}, (), ("cannot be read",) if row.name in problems else ()) for row in table.rows]
    names = [row.name for row in table.rows]
    files = {name: folder / f"{name}.json" for name in names}
    for number, name in enumerate(names):
        if name not in problems:
            _recall_file(files[name], 0.1 * number)
    measurements = [Measurement(name, seed, name, str(files[name])) for name in names for seed in (0, 1)]
    return recall_plots(table, measurements, results, done, str(folder))


def test_every_row_of_recall_has_a_curve_with_its_name(tmp_path):
    table = _table(("ss", ("SS", ""), "recall"), ("rpn", ("RPN", "ZF"), "recall"), ("det", ("mAP", ""), "detections"))
    shown = _plots(table, tmp_path)
    assert [description for description, _ in shown] == ["Recall over IoU", "Recall over IoU by size of the objects"]
    svg = (tmp_path / "t_recall.svg").read_text()
    assert "<!-- SS -->" in svg and "<!-- RPN, ZF -->" in svg and "mAP" not in svg
    assert (tmp_path / "t_recall.png").stat().st_size > 10000


def test_rows_that_are_called_alike_have_a_curve_each(tmp_path):
    table = _table(("ss", ("SS", ""), "recall"), ("other", ("SS", ""), "recall"))
    _plots(table, tmp_path)
    svg = (tmp_path / "t_recall.svg").read_text()
    assert "<!-- SS -->" in svg and "<!-- SS (other) -->" in svg


@pytest.mark.parametrize("missing", ["problem", "not done"])
def test_a_row_whose_recall_is_not_there_takes_nothing_from_the_others(tmp_path, missing):
    table = _table(("ss", ("SS", ""), "recall"), ("rpn", ("RPN", "ZF"), "recall"))
    done = ("ss",) if missing == "not done" else ("ss", "rpn")
    _plots(table, tmp_path, problems=("rpn",), done=done)
    svg = (tmp_path / "t_recall.svg").read_text()
    assert "<!-- SS -->" in svg and "RPN" not in svg


def test_without_recall_nothing_is_drawn(tmp_path):
    assert _plots(_table(("det", ("mAP", ""), "detections")), tmp_path) == []
    assert not (tmp_path / "t_recall.svg").exists()
