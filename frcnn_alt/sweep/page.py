"""The page of a sweep: one self-contained HTML file with every table, its plots, the statements, and the provenance."""

from typing import List, Mapping, Sequence

from ..report.elements import Plot, plots
from ..report.elements import table as html_table
from ..report.page import PAGE
from ..report.row_plots import PlottedRow, plot_rows
from ..report.text import escape, visible
from .plan import SweepPlan
from .render import Grid, cells_of, label_of, problems_of, statements_of
from .results import Comparison, RowResult
from .table import Table

__all__ = ["TableResult", "sweep_page"]


class TableResult:
    """What a page shows of a table.

    Args:
        table: the table.
        results: its rows' numbers.
        comparisons: its statements.
        curves: further plots, e.g. recall over IoU.
    """

    def __init__(
        self,
        table: Table,
        results: Sequence[RowResult],
        comparisons: Sequence[Comparison],
        curves: Sequence[Plot] = (),
    ):
        self.table = table
        self.results = results
        self.comparisons = comparisons
        self.curves = list(curves)


def _grid(grid: Grid, numbers_from: int) -> str:
    header, rows = grid
    escaped = [[escape(cell) for cell in row] for row in rows]
    return html_table([escape(cell) for cell in header], escaped, numbers=True, numbers_from=numbers_from)


def _row_plots(result: TableResult) -> List[Plot]:
    items: List[Plot] = []
    for metric in result.table.metrics:
        shown = visible(metric)
        rows = [
            PlottedRow(visible(label_of(row)), one.values[metric].paper, list(one.values[metric].by_seed.values()))
            for row, one in zip(result.table.rows, result.results)
        ]
        items.append((f"{shown} of every row", lambda theme, r=rows, m=shown: plot_rows(r, m, theme)))
    return items


def _section(result: TableResult) -> str:
    table = result.table
    parts = [_grid(cells_of(table, result.results), len(table.columns))]
    parts += [f'<p class="warn">{escape(problem)}</p>' for problem in problems_of(result.results)]
    parts.append(plots(_row_plots(result) + result.curves, wide=True))
    if result.comparisons:
        parts.append(_grid(statements_of(result.comparisons), 1))
    if table.note:
        parts.append(f'<p class="soft">{escape(table.note.strip())}</p>')
    return f"<section>\n<h2>{escape(table.title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def sweep_page(
    plan: SweepPlan, results: Sequence[TableResult], failed: Mapping[str, str], provenance: Mapping[str, str]
) -> str:
    """Return the page as HTML.

    Args:
        plan: the sweep.
        results: of each table.
        failed: name of a task that failed or was skipped -> where its log is, or why.
        provenance: name -> text: machine, versions, command.
    """
    done = [task for name, task in plan.tasks.items() if plan.marks.is_done(name)]
    introduction = (
        f'<p class="soft">Seeds {", ".join(map(str, plan.seeds))}; {len(done)} of {len(plan.tasks)} tasks are done. '
        "Mean and standard deviation over the seeds; a difference is beyond the spread if it is larger than that.</p>"
    )
    if failed:
        lines = "<br>".join(f"{escape(name)}: {escape(why)}" for name, why in failed.items())
        introduction += f'<p class="warn">Not done: {lines}</p>'
    commands = [[escape(name), f"<code>{escape(task.command_line)}</code>"] for name, task in plan.tasks.items()]
    sections = [_section(result) for result in results]
    sections.append(f"<section>\n<h2>Commands</h2>\n{html_table([], commands)}\n</section>")
    rows = [[escape(name), escape(text)] for name, text in provenance.items()]
    sections.append(f"<section>\n<h2>Provenance</h2>\n{html_table([], rows)}\n</section>")
    title = ", ".join(result.table.name for result in results)
    return PAGE.substitute(title=escape(title), introduction=introduction, sections="\n".join(sections))
