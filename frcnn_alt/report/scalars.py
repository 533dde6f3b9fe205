"""Reading the curves that a training logged: losses and whatever else detectron2's metrics.json holds."""

import json
import os
from typing import Any, Dict, Iterator, List, Tuple

__all__ = ["Curve", "read_scalars"]

Curve = Tuple[List[int], List[float]]  # iterations of a step, and the values there


def read_scalars(path: str) -> Dict[str, Curve]:
    """Read the curves of a metrics.json (detectron2's: one JSON object a line), by ascending iteration.

    A run that was cut and resumed repeats iterations: the later line counts, and what an abandoned training had logged
    beyond the point it was resumed from is dropped. A half-written line is skipped.

    Args:
        path: the file; a missing one has no curves.
    """
    values: Dict[int, Dict[str, float]] = {}
    last = -1
    for record in _json_lines(path):
        iteration = record.pop("iteration", None)
        if not isinstance(iteration, int):
            continue
        # Only lines of the training loop tell where it stands; detectron2 may log single values a little late.
        if "total_loss" in record:
            if iteration <= last:
                values = {i: scalars for i, scalars in values.items() if i < iteration}
            last = iteration
        values.setdefault(iteration, {}).update({k: v for k, v in record.items() if isinstance(v, (int, float))})
    curves: Dict[str, Curve] = {}
    for iteration in sorted(values):
        for name, value in values[iteration].items():
            iterations, ordinates = curves.setdefault(name, ([], []))
            iterations.append(iteration)
            ordinates.append(float(value))
    return curves


def _json_lines(path: str) -> Iterator[Dict[str, Any]]:
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record
