"""Whatever stands in a table, in names of files or in results: a sweep's page shows it, and no element comes of it."""

from dataclasses import replace

from frcnn_alt.sweep.page import TableResult, sweep_page
from frcnn_alt.sweep.plan import SweepPlan
from frcnn_alt.sweep.results import Comparison, RowResult, Values
from frcnn_alt.sweep.table import Row, Statement, Table
from frcnn_alt.sweep.tasks import Task

from hostile_page import HOSTILE, Page


def test_hostile_text_in_every_field(tmp_path):
    row = Row(f"row {HOSTILE}", (f"cell {HOSTILE}", ""), "net", paper={f"mAP {HOSTILE}": 59.9})
    statement = Statement(f"statement {HOSTILE}", row.name, row.name)
    metrics = {f"mAP {HOSTILE}": "bbox/AP50"}
    table = Table(
        f"name {HOSTILE}", f"title {HOSTILE}", metrics, (f"column {HOSTILE}", "n"), {}, {}, (row,), (statement,)
    )
    table = replace(table, note=f"note {HOSTILE}")
    task = Task(f"task {HOSTILE}", "train", ("tools/train_net.py", f"word {HOSTILE}"), str(tmp_path / "x"))
    plan = SweepPlan((table,), (0,), str(tmp_path), {task.name: task}, {table.name: ()}, ())
    values = {metric: Values({0: 50.0}, 59.9) for metric in metrics}
    result = RowResult(row.name, values, (), (f"problem {HOSTILE}",))
    comparison = Comparison(statement, 1.0, None, 2.0, f"verdict {HOSTILE}")
    shown = TableResult(table, [result], [comparison])
    text = sweep_page(plan, [shown], {task.name: f"why {HOSTILE}"}, {f"machine {HOSTILE}": f"about {HOSTILE}"})
    page = Page(text)
    assert "script" not in page.tags
    seen = " ".join(page.texts)
    for what in (
        "title",
        "column",
        "cell",
        "statement",
        "verdict",
        "note",
        "problem",
        "task",
        "word",
        "why",
        "machine",
    ):
        assert f"{what} <script>alert(1)</script>" in seen, what
