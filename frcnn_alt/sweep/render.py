"""A table's numbers as text, Markdown and CSV, in the paper's own layout: its columns, its number, ours beside it."""

import csv
import io
from typing import List, Optional, Sequence, Tuple

from tabulate import tabulate

from .results import Comparison, RowResult, Values
from .table import Row, Table

__all__ = ["as_csv", "as_markdown", "as_text", "cells_of", "label_of", "problems_of", "statements_of"]

Grid = Tuple[List[str], List[List[str]]]  # header, rows


def _number(value: Optional[float], digits: int = 1, sign: bool = False) -> str:
    if value is None or value != value:
        return "-"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0") if float(text) == 0 else text


def mean_and_spread(mean: Optional[float], spread: Optional[float], sign: bool = False) -> str:
    """Return "56.8 ± 0.6", without a spread "56.8", "-" without anything."""
    text = _number(mean, sign=sign)
    return text if spread is None or text == "-" else f"{text} ± {_number(spread)}"


def _beyond(values: Values) -> str:
    larger = values.is_larger_than_spread
    return "-" if larger is None else ("yes" if larger else "no")


def label_of(row: Row) -> str:
    """What a row is called in a plot."""
    return ", ".join(cell for cell in row.cells if cell)


def problems_of(results: Sequence[RowResult]) -> List[str]:
    """Why numbers of rows could not be read."""
    return [f"row {result.row}: {problem}" for result in results for problem in result.problems]


def cells_of(table: Table, results: Sequence[RowResult]) -> Grid:
    """Header and rows: the paper's columns, then for each metric its number, ours, and whether they differ.

    Of a metric that the paper has no number of (Figure 4) there is ours alone.
    """
    header = list(table.columns)
    in_paper = {metric for metric in table.metrics if any(metric in row.paper for row in table.rows)}
    for metric in table.metrics:
        header += [f"{metric}: paper", "here", "difference", "beyond the spread"] if metric in in_paper else [metric]
    rows = []
    for row, result in zip(table.rows, results):
        cells = list(row.cells)
        for metric in table.metrics:
            values = result.values[metric]
            here = mean_and_spread(values.mean, values.spread)
            if result.missing:
                seeds = ", ".join(map(str, result.missing))
                here += f" (without seed {seeds})" if values.by_seed else f" (seed {seeds} failed or not done)"
            with_paper = [_number(values.paper), here, _number(values.difference, sign=True), _beyond(values)]
            cells += with_paper if metric in in_paper else [here]
        rows.append(cells)
    return header, rows


def statements_of(comparisons: Sequence[Comparison]) -> Grid:
    """Header and rows: what the paper says, its difference, ours, and whether the statement holds."""
    rows = [
        [
            one.statement.text,
            _number(one.paper, sign=True),
            mean_and_spread(one.difference, one.spread, sign=True),
            one.verdict,
        ]
        for one in comparisons
    ]
    return ["statement of the paper", "difference: paper", "here", "here it"], rows


def _formatted(grid: Grid, style: str, columns: int) -> str:
    header, rows = grid
    alignment = ["left"] * columns + ["right"] * (len(header) - columns)
    return tabulate(rows, header, tablefmt=style, disable_numparse=True, colalign=alignment if rows else None)


def as_text(table: Table, results: Sequence[RowResult], comparisons: Sequence[Comparison]) -> str:
    """For a terminal."""
    parts = [
        f"{table.title}\n{'=' * len(table.title)}",
        _formatted(cells_of(table, results), "simple", len(table.columns)),
    ]
    parts += problems_of(results)
    if comparisons:
        header, rows = statements_of(comparisons)
        parts.append(tabulate(rows, header, tablefmt="simple", disable_numparse=True))
    return "\n\n".join(parts)


def as_markdown(table: Table, results: Sequence[RowResult], comparisons: Sequence[Comparison], about: str) -> str:
    """For a repository.

    Args:
        about: lines below the table: machine, versions, command.
    """
    parts = [f"# {table.title}", _formatted(cells_of(table, results), "github", len(table.columns))]
    parts += problems_of(results)
    if comparisons:
        header, rows = statements_of(comparisons)
        parts.append(tabulate(rows, header, tablefmt="github", disable_numparse=True))
    if table.note:
        parts.append(table.note.strip())
    return "\n\n".join([*parts, about]) + "\n"


def as_csv(table: Table, results: Sequence[RowResult], seeds: Sequence[int]) -> str:
    """For other programs: numbers unrounded, a column for each seed, a line for each row and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["row", *table.columns, "metric", "paper", "mean", "spread", "difference", "beyond the spread"]
    writer.writerow([*header, *(f"seed {seed}" for seed in seeds)])
    for row, result in zip(table.rows, results):
        for metric, values in result.values.items():
            numbers = [values.paper, values.mean, values.spread, values.difference, values.is_larger_than_spread]
            numbers += [values.by_seed.get(seed) for seed in seeds]
            writer.writerow([row.name, *row.cells, metric, *("" if one is None else one for one in numbers)])
    return text.getvalue()
