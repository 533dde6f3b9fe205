"""The plan of a sweep: everything that is to be done for some tables and seeds, in order, and what it costs."""

import os
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

from tabulate import tabulate

from ..data import DatasetError
from ..engine import ConfigError
from .measurements import Measurement, Measurements
from .networks import Trainings
from .table import Table
from .tasks import Task, TaskMarks, from_here

__all__ = ["SweepPlan", "plan_sweep"]


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep does.

    Attributes:
        tables: what is filled.
        seeds: each training is done with each of them.
        folder: of the sweep.
        tasks: name -> task, each after those that it needs.
        measurements: table's name -> its measurements.
        problems: what is to be mended first, one sentence each.
    """

    tables: Tuple[Table, ...]
    seeds: Tuple[int, ...]
    folder: str
    tasks: Mapping[str, Task]
    measurements: Mapping[str, Tuple[Measurement, ...]]
    problems: Tuple[str, ...]

    @property
    def marks(self) -> TaskMarks:
        """Which tasks are done."""
        return TaskMarks(os.path.join(self.folder, "tasks"), self.tasks)

    def __str__(self) -> str:
        parts = [self._rows_of(table) for table in self.tables]
        parts += [self._trainings(), self._cost()]
        if self.problems:
            parts.append("To be mended first:\n" + "\n".join(f"- {problem}" for problem in self.problems))
        return "\n\n".join(parts)

    def _rows_of(self, table: Table) -> str:
        rows = []
        for row in table.rows:
            of_row = [one for one in self.measurements[table.name] if one.row == row.name and one.seed == self.seeds[0]]
            rows.append([row.name, *row.cells, row.network, ", ".join(one.task for one in of_row)])
        header = ["row", *table.columns, "network", "measured by"]
        return f"{table.title}\n\n{tabulate(rows, header, tablefmt='simple', disable_numparse=True)}"

    def _trainings(self) -> str:
        marks = self.marks
        rows = []
        for task in self.tasks.values():
            if task.iterations or task.shared_iterations:
                state = "done" if marks.is_done(task.name) else ""
                shared = f"{task.shared_iterations:,}: {task.about}" if task.shared_iterations else ""
                rows.append([task.name, f"{task.iterations:,}", shared, state])
        header = ["training", "iterations", "shared with another", "state"]
        return tabulate(
            rows, header, tablefmt="simple", disable_numparse=True, colalign=("left", "right", "left", "left")
        )

    def _cost(self) -> str:
        marks = self.marks
        iterations = sum(task.iterations for task in self.tasks.values())
        left = sum(task.iterations for task in self.tasks.values() if not marks.is_done(task.name))
        shared = sum(task.shared_iterations for task in self.tasks.values())
        others: Dict[str, int] = {}
        for task in self.tasks.values():
            if not (task.iterations or task.shared_iterations):
                others[task.kind] = others.get(task.kind, 0) + 1
        also = ", ".join(f"{count} x {kind}" for kind, count in others.items())
        done = sum(marks.is_done(name) for name in self.tasks)
        return (
            f"{iterations:,} iterations of training, {left:,} of them still to be done; {shared:,} more are shared. "
            f"Besides: {also or 'nothing'}.\n"
            f"{done} of {len(self.tasks)} tasks are done. Folder: {self.folder}"
        )


def plan_sweep(
    tables: Sequence[Table],
    folder: str,
    seeds: Sequence[int],
    tools: str,
    opts: Sequence[str] = (),
    *,
    pretrain: bool = False,
) -> SweepPlan:
    """Plan the rows of some tables, which may share networks.

    Args:
        tables: from ``read_table``.
        folder: of the sweep.
        seeds: of the trainings.
        tools: folder of this repository's command line tools.
        opts: KEY VALUE ... for every command.
        pretrain: whether initial weights that are not there are made from crops.

    Raises:
        ConfigError: tables have the same name, or different networks or bases of the same name.
    """
    folder = from_here(folder)
    trainings = Trainings(_merged(tables), folder, tools, opts, pretrain)
    measurements: Dict[str, List[Measurement]] = {table.name: [] for table in tables}
    for seed in seeds:
        trainings.plan(_networks(tables), seed)
        for table in tables:
            of_table = Measurements(table, tables, trainings)
            for row in table.rows:
                if row.measure == "time" and seed != seeds[0]:
                    continue  # how fast it is, no seed changes
                try:
                    measurements[table.name] += of_table.of_row(row, seed)
                except (ConfigError, DatasetError) as error:
                    trainings.say(f"row {row.name}", str(error))
    return SweepPlan(
        tuple(tables),
        tuple(seeds),
        folder,
        trainings.tasks,
        {name: tuple(of_table) for name, of_table in measurements.items()},
        tuple(trainings.problems),
    )


def _networks(tables: Sequence[Table]) -> List[str]:
    """The networks that rows need, in order."""
    named = [
        name
        for table in tables
        for row in table.rows
        for name in ((row.proposals,) if row.measure == "recall" and row.proposals else (row.network, row.proposals))
    ]
    return [name for name in dict.fromkeys(named) if any(name in table.networks for table in tables)]


def _merged(tables: Sequence[Table]) -> Table:
    """One table with the networks and bases of all."""
    first, *others = tables
    if len({table.name for table in tables}) < len(tables):
        raise ConfigError(f"Two tables are called {first.name}: name each once.")
    networks, bases = dict(first.networks), dict(first.bases)
    for table in others:
        for kind, mine, theirs in (("network", networks, table.networks), ("base", bases, table.bases)):
            for name, value in theirs.items():
                if mine.setdefault(name, value) != value:
                    raise ConfigError(
                        f"{kind} {name} of table {table.name} is not that of {first.name}: give it another name, or "
                        "sweep the tables one by one into folders of their own."
                    )
    return Table("tables", first.title, first.metrics, first.columns, bases, networks, rows=())
