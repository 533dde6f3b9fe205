"""Figure 4 of a sweep: recall over IoU of the rows that measure proposals, with the spread over seeds."""

from typing import List, Sequence

from ..report.elements import Plot
from .measurements import Measurement
from .table_file import Table

__all__ = ["recall_plots"]


def recall_plots(table: Table, measurements: Sequence[Measurement], done: Sequence[str]) -> List[Plot]:
    return []
