"""Figure 4 of a sweep: recall over IoU of the rows that measure proposals, with the spread over seeds."""

import itertools
import os
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ..evaluation import RecallCurves
from ..report import plot_recall_curves
from ..report.elements import Plot
from ..report.recall_files import read_recall_json
from .measurements import Measurement
from .render import label_of
from .results import RowResult
from .table import Table

__all__ = ["recall_plots"]

SIZES = ("small", "medium", "large")


def recall_plots(
    table: Table, measurements: Sequence[Measurement], results: Sequence[RowResult], done: Sequence[str], folder: str
) -> List[Plot]:
    """Draw <table>_recall.svg and .png, and the same by object size, into `folder`.

    Args:
        table: whose rows of measure "recall" are the curves; without any, nothing is drawn.
        measurements: of the table.
        results: of the table; a row whose numbers cannot be read has no curve either.
        done: names of the tasks that are done.
        folder: of the sweep.

    Returns:
        What the page shows of them.
    """
    curves: Dict[str, List[RecallCurves]] = {}
    for row, result in zip(table.rows, results):
        if row.measure == "recall" and not result.problems:
            files = [one.results for one in measurements if one.row == row.name and one.task in done]
            # What has no seed (Selective Search) is one file for all of them.
            runs = itertools.chain.from_iterable(read_recall_json(file).values() for file in dict.fromkeys(files))
            of_row = list(itertools.chain.from_iterable(runs))
            if of_row:
                label = label_of(row)
                curves[f"{label} ({row.name})" if label in curves else label] = of_row
    if not curves:
        return []
    kinds: Tuple[Tuple[str, str, Sequence[str]], ...] = (
        ("recall", "Recall over IoU", ("all",)),
        ("recall_by_size", "Recall over IoU by size of the objects", SIZES),
    )
    items: List[Plot] = []
    for name, description, sizes in kinds:
        path = os.path.join(folder, f"{table.name}_{name}")
        for suffix in (".svg", ".png"):
            plot_recall_curves(curves, f"{path}{suffix}", sizes)
        items.append((description, lambda theme, file=f"{path}.svg": Path(file).read_text()))
    return items
