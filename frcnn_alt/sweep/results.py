"""From measurements to a table's numbers: mean and spread over seeds, and their difference from the paper's.

The spread is the standard deviation over the seeds (of a sample, n - 1). Random draws of one seed are averaged first.
"""

import json
import math
import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..engine import ConfigError
from .measurements import Measurement
from .table import Statement, Table
from .values import value_at

__all__ = ["Comparison", "RowResult", "Values", "compare", "read_results"]


@dataclass(frozen=True)
class Values:
    """One metric of one row.

    Attributes:
        by_seed: seed -> value, the mean over random draws.
        paper: the paper's number, if it has one.
        has_seed: whether the seed has an influence; Selective Search's recall is the same number for all of them.
    """

    by_seed: Mapping[int, float]
    paper: Optional[float] = None
    has_seed: bool = True

    @property
    def mean(self) -> Optional[float]:
        """Over the seeds; None without any."""
        return statistics.mean(self.by_seed.values()) if self.by_seed else None

    @property
    def spread(self) -> Optional[float]:
        """Standard deviation over the seeds; None of fewer than two, or where no seed has an influence."""
        return statistics.stdev(self.by_seed.values()) if self.has_seed and len(self.by_seed) > 1 else None

    @property
    def difference(self) -> Optional[float]:
        """Mean less the paper's number."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper

    @property
    def is_larger_than_spread(self) -> Optional[bool]:
        """Whether the difference is larger than the spread; None where one of them is not known."""
        if self.difference is None or self.spread is None:
            return None
        return abs(self.difference) > self.spread


@dataclass(frozen=True)
class RowResult:
    """What was measured of a row.

    Attributes:
        row: its name.
        values: metric -> numbers.
        missing: seeds without a result.
        problems: why a result that there is could not be read, each once.
    """

    row: str
    values: Mapping[str, Values]
    missing: Sequence[int]
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """A statement of the paper on our numbers.

    Attributes:
        statement: what is said.
        difference: mean over the seeds of the better row less the worse one, by the first metric; None if not measured.
        spread: standard deviation of that difference over the seeds, which pairs the rows of a seed.
        paper: the same difference in the paper.
        verdict: in words.
    """

    statement: Statement
    difference: Optional[float]
    spread: Optional[float]
    paper: Optional[float]
    verdict: str


def read_results(table: Table, measurements: Sequence[Measurement], done: Sequence[str]) -> List[RowResult]:
    """Read what has been measured.

    Args:
        table: the table.
        measurements: its measurements.
        done: names of the tasks that are done; the files of others are not looked at.
    """
    results = []
    for row in table.rows:
        of_row = [one for one in measurements if one.row == row.name]
        by_metric: Dict[str, Dict[int, float]] = {metric: {} for metric in table.metrics}
        missing, problems = [], []
        for seed in dict.fromkeys(one.seed for one in of_row):
            draws = [one for one in of_row if one.seed == seed]
            if any(one.task not in done for one in draws):
                missing.append(seed)
                continue
            try:
                numbers = _numbers(table, draws)
            except ConfigError as error:  # of one row: the others' numbers are worth having
                missing.append(seed)
                problems.append(str(error))
                continue
            for metric, value in numbers.items():
                if math.isfinite(value):  # NaN: there is nothing to measure, such as no object of a size
                    by_metric[metric][seed] = value
        has_seed = len({one.task for one in of_row}) > 1 or len({one.seed for one in of_row}) < 2
        values = {metric: Values(found, row.paper.get(metric), has_seed) for metric, found in by_metric.items()}
        results.append(RowResult(row.name, values, tuple(missing), tuple(problems)))
    return results


def _numbers(table: Table, draws: Sequence[Measurement]) -> Dict[str, float]:
    """Metric -> mean over the random draws of a seed.

    Raises:
        ConfigError: a file cannot be read, or lacks a metric.
    """
    contents = [_read(one) for one in draws]
    try:
        return {
            metric: sum(value_at(content, path) for content in contents) / len(contents)
            for metric, path in table.metrics.items()
        }
    except KeyError as error:
        raise ConfigError(f"{error.args[0]} in {', '.join(one.results for one in draws)}.") from error


def _read(measurement: Measurement) -> Any:
    try:
        with open(measurement.results) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{measurement.results}, which {measurement.task} has written, cannot be read ({error}): remove its mark "
            f"(tasks/{measurement.task}.json) and sweep again."
        ) from error


def compare(table: Table, results: Sequence[RowResult]) -> List[Comparison]:
    """What becomes of the table's statements, by its first metric.

    "Better" holds if the mean difference is above 0 and larger than its spread; "nearly as good" if the loss is not
    larger than the paper's (0 where there is none in the paper), give or take the spread of the difference.
    """
    metric = next(iter(table.metrics))
    by_row = {result.row: result.values[metric] for result in results}
    comparisons = []
    for statement in table.statements:
        better, worse = by_row[statement.better], by_row[statement.worse]
        pairs = [better.by_seed[seed] - worse.by_seed[seed] for seed in better.by_seed if seed in worse.by_seed]
        difference = statistics.mean(pairs) if pairs else None
        has_seed = better.has_seed or worse.has_seed  # else all pairs are the same numbers
        spread = statistics.stdev(pairs) if has_seed and len(pairs) > 1 else None
        in_paper = None if better.paper is None or worse.paper is None else better.paper - worse.paper
        verdict = _verdict(statement, difference, spread, in_paper)
        comparisons.append(Comparison(statement, difference, spread, in_paper, verdict))
    return comparisons


def _verdict(
    statement: Statement, difference: Optional[float], spread: Optional[float], in_paper: Optional[float]
) -> str:
    if difference is None:
        return "not measured"
    if spread is None:
        beyond = "without a spread"
    else:
        beyond = "larger than the spread" if abs(difference) > spread else "within the spread"
    if statement.nearly:
        if difference < 0:
            return f"holds, it is even better ({beyond})"
        allowed = max(in_paper or 0.0, 0.0) + (spread or 0.0)
        return f"{'holds' if difference <= allowed else 'does not hold'} ({beyond})"
    if difference > 0:
        return "holds" if beyond == "larger than the spread" else f"holds in the mean, {beyond}"
    return "does not hold, the other way round" if beyond == "larger than the spread" else f"not seen, {beyond}"
