"""Measured recall of several methods as tables: CSV, JSON, and a short text for a terminal.

Recalls in files are shares from 0 to 1, as in the paper's Figure 4; the text has percent, as all tables here.
"""

import csv
import io
import json
import math
import statistics
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from tabulate import tabulate

from ..evaluation import RecallCurves
from .files import write_text
from .recall_figure import Runs, runs_by_method
from .text import percent

__all__ = ["read_recall_json", "recall_summary", "write_average_recall_csv", "write_recall_csv", "write_recall_json"]

_IOUS = (0.5, 0.7, 0.9)  # of the text


def _numbered(curves: Mapping[str, Runs]) -> Iterator[Tuple[str, int, RecallCurves]]:
    """(method, 1 for its first run on the data set, run)."""
    for method, runs in runs_by_method(curves).items():
        seen: Dict[str, int] = {}
        for run in runs:
            seen[run.dataset_name] = seen.get(run.dataset_name, 0) + 1
            yield method, seen[run.dataset_name], run


def _write_csv(path: str, header: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_recall_csv(curves: Mapping[str, Runs], path: str) -> None:
    """Write every point of every curve.

    Columns: method, run (1 for the first of the method on this data set), data set, rule, boxes (the number of
    proposals an image), size (of the objects: all, small, medium, large), iou, recall ("nan" where no object has that
    size).

    Args:
        curves: method -> what was measured, once or over several runs, on one data set or several.
        path: replaced in one go.
    """

    def rows() -> Iterator[Sequence[Any]]:
        for method, number, run in _numbered(curves):
            for row, limit in enumerate(run.limits):
                for size, recall in run.recall.items():
                    for iou, value in zip(run.thresholds, recall[row]):
                        yield method, number, run.dataset_name, run.rule, limit, size, f"{iou:g}", f"{value:.6f}"

    _write_csv(path, ["method", "run", "data set", "rule", "boxes", "size", "iou", "recall"], rows())


def write_average_recall_csv(curves: Mapping[str, Runs], path: str) -> None:
    """Write average recall, one line for each number of proposals and object size.

    Columns: those of `write_recall_csv` to "size", objects (their number), average recall (a share from 0 to 1).

    Args:
        curves, path: as of `write_recall_csv`.
    """

    def rows() -> Iterator[Sequence[Any]]:
        for method, number, run in _numbered(curves):
            for row, limit in enumerate(run.limits):
                for size, average in run.average_recall.items():
                    objects = run.num_objects[size]
                    about = method, number, run.dataset_name, run.rule, limit, size
                    yield (*about, objects, f"{average[row]:.6f}")

    header = ["method", "run", "data set", "rule", "boxes", "size", "objects", "average recall"]
    _write_csv(path, header, rows())


def _without_nan(values: Any) -> List[Any]:
    """Nested lists with None, JSON's null, for NaN."""
    return [_without_nan(v) if isinstance(v, list) else None if math.isnan(v) else v for v in values]


def write_recall_json(curves: Mapping[str, Runs], path: str) -> None:
    """Write all that was measured as a list of runs, each with "method", "run" and `RecallCurves`' attributes.

    "recall" has for each object size a list for each of "limits", of a number for each of "thresholds"; null where no
    object has that size.

    Args:
        curves, path: as of `write_recall_csv`.
    """
    runs = [
        {
            "method": method,
            "run": number,
            "dataset": run.dataset_name,
            "rule": run.rule,
            "images": run.num_images,
            "objects": run.num_objects,
            "proposals_per_image": run.proposals_per_image,
            "limits": list(run.limits),
            "thresholds": list(run.thresholds),
            "average_recall": {size: _without_nan(values.tolist()) for size, values in run.average_recall.items()},
            "recall": {size: _without_nan(values.tolist()) for size, values in run.recall.items()},
        }
        for method, number, run in _numbered(curves)
    ]
    write_text(path, json.dumps(runs, indent=1, allow_nan=False) + "\n")


def _as_arrays(by_size: Mapping[str, Any]) -> Dict[str, np.ndarray]:
    return {size: np.array(values, dtype=np.float64) for size, values in by_size.items()}  # None becomes NaN


def read_recall_json(path: str) -> Dict[str, List[RecallCurves]]:
    """Read what `write_recall_json` wrote: method -> its runs.

    Raises:
        OSError, ValueError, KeyError: there is no such file, or it is not one of these.
    """
    with open(path, encoding="utf-8") as file:
        runs = json.load(file)
    curves: Dict[str, List[RecallCurves]] = {}
    for run in runs:
        curve = RecallCurves(
            dataset_name=run["dataset"],
            rule=run["rule"],
            limits=tuple(run["limits"]),
            thresholds=tuple(run["thresholds"]),
            recall=_as_arrays(run["recall"]),
            average_recall=_as_arrays(run["average_recall"]),
            num_objects=run["objects"],
            num_images=run["images"],
            proposals_per_image=run["proposals_per_image"],
        )
        curves.setdefault(run["method"], []).append(curve)
    return curves


def _cell(values: Sequence[float]) -> str:
    """Mean in percent; of several runs with their standard deviation."""
    mean = float(np.mean(values))  # NaN where one of the runs has no such object
    spread = f" ± {percent(100 * float(np.std(values, ddof=1)))}" if len(values) > 1 and not math.isnan(mean) else ""
    return percent(100 * mean) + spread


def recall_summary(curves: Mapping[str, Runs]) -> str:
    """A text table of average recall, also by object size, and of recall at IoU 0.5, 0.7 and 0.9, in percent.

    Args:
        curves: method -> what was measured on one data set, at these IoUs too; of several runs there are the mean and
            the standard deviation.

    Raises:
        ValueError: recall was not measured at one of these IoUs.
    """
    rows = []
    for method, runs in runs_by_method(curves).items():
        stored = f"{statistics.mean(run.proposals_per_image for run in runs):.0f}"
        for row, limit in enumerate(runs[0].limits):
            averages = [_cell([float(run.average_recall[s][row]) for run in runs]) for s in runs[0].average_recall]
            recalls = [_cell([run.at(limit, iou) for run in runs]) for iou in _IOUS]
            rows.append([method, stored, str(limit), *averages, *recalls])
    header = ["method", "stored", "best", "AR", "ARs", "ARm", "ARl", *(f"recall at {iou}" for iou in _IOUS)]
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True, colalign=align)
