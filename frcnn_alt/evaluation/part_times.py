"""The times of several systems over the same number of images, side by side, as medians with their spread.

On a machine that others use too, what is measured later is measured under another load. So the systems take turns,
one repetition over their images each, and ratios between them come from one run.

Shape letters: T repetitions, I images, P parts, their sum and the whole by itself.
"""

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from detectron2.evaluation.evaluator import inference_context
from torch import nn
from tqdm import tqdm

from .timing import PARTS, Clock, time_parts, time_whole

__all__ = ["PartTimes", "TimedSystem", "measure_parts"]

_COLUMNS = (*PARTS, "total", "whole")
_Counts = Tuple[Optional[int], Optional[int]]  # regions, detections


@dataclass(frozen=True)
class TimedSystem:
    """What is measured.

    Attributes:
        name: in tables.
        model: an R-CNN, see `time_parts`.
        prepare: detectron2 dictionary -> input of the model, e.g. a ``DatasetMapper``; measured with it.
        records: the images' dictionaries.
        external_proposals: milliseconds an image that the program takes which made the stored proposals, measured
            elsewhere; of use only where the model has no proposal generator.
    """

    name: str
    model: nn.Module
    prepare: Callable[[Dict[str, Any]], Dict[str, Any]]
    records: Sequence[Dict[str, Any]]
    external_proposals: Optional[float] = None


@dataclass(frozen=True)
class PartTimes:
    """Milliseconds an image of one system.

    Attributes:
        name: of the system.
        milliseconds: part -> median over the images, of each of which the median over the repetitions was taken; None
            for a part that the system does not have. "total" is their sum, image by image, with borders between them,
            so that the medians of the parts add up to it nearly. "whole" was measured by itself, without borders.
        spread: the same keys -> lower and upper quartile over the images.
        regions: median number of regions that the RoI heads were given; None without RoI heads.
        detections: median number of detections; None where there are none to be had.
        images: how many.
        repetitions: of each.
    """

    name: str
    milliseconds: Dict[str, Optional[float]]
    spread: Dict[str, Optional[Tuple[float, float]]]
    regions: Optional[float]
    detections: Optional[float]
    images: int
    repetitions: int


def measure_parts(
    systems: Sequence[TimedSystem], *, repetitions: int = 3, warm_up: int = 5, clock: Clock = time.perf_counter
) -> List[PartTimes]:
    """Measure all systems, by turns, one image a batch.

    Every image is run twice in a repetition, once split and once whole, in an order that alternates, so that neither
    always finds the file in the cache.

    Args:
        systems: each with at least one image.
        repetitions: T.
        warm_up: images that each system runs before anything is measured; the first ones again if there are fewer.
        clock: seconds.

    Raises:
        ValueError: a model is no R-CNN, a system has no images, or there is no repetition.
    """
    if repetitions < 1 or not all(system.records for system in systems):
        raise ValueError("there is nothing to measure: at least one repetition over one image is needed")
    times: List[List[np.ndarray]] = [[] for _ in systems]
    counts: List[List[_Counts]] = [[] for _ in systems]
    steps = sum(len(system.records) * repetitions + warm_up for system in systems)
    with tqdm(total=steps, desc="Timing", unit="image", disable=None) as progress:
        for system in systems:
            with _inference(system.model):
                for index in range(warm_up):
                    _run(system, system.records[index % len(system.records)])
                    progress.update()
        for repetition in range(repetitions):
            for system, of_system, counts_of_system in zip(systems, times, counts):
                with _inference(system.model):
                    for index, record in enumerate(system.records):
                        row, counted = _measure(system, record, clock, split_first=(index + repetition) % 2 == 0)
                        of_system.append(row)
                        counts_of_system.append(counted)
                        progress.update()
    return [_summary(system, np.array(rows), counted) for system, rows, counted in zip(systems, times, counts)]


@contextlib.contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """As detectron2's evaluation runs a model: in evaluation mode, without gradients; as it was afterwards."""
    with inference_context(model), torch.no_grad():
        yield


def _run(system: TimedSystem, record: Dict[str, Any]) -> Any:
    return system.model([system.prepare(record)])


def _measure(
    system: TimedSystem, record: Dict[str, Any], clock: Clock, *, split_first: bool
) -> Tuple[List[float], _Counts]:
    """One row of `_COLUMNS`, in seconds, NaN for parts that are not there; and the numbers of boxes."""

    def run() -> Any:
        return _run(system, record)

    if not split_first:
        whole = time_whole(system.model, run, clock=clock)
    seconds, regions, output = time_parts(system.model, run, clock=clock)
    if split_first:
        whole = time_whole(system.model, run, clock=clock)
    if seconds["proposals"] is None and system.external_proposals is not None:
        seconds["proposals"] = system.external_proposals / 1000
        whole += seconds["proposals"]
    parts = [np.nan if seconds[part] is None else seconds[part] for part in PARTS]
    detections = len(output[0]["instances"]) if output and "instances" in output[0] else None
    return [*parts, float(np.nansum(parts)), whole], (regions, detections)


def _summary(system: TimedSystem, rows: np.ndarray, counts: List[_Counts]) -> PartTimes:
    """Rows: (T * I, P), seconds, repetition by repetition."""
    images = len(system.records)
    by_image = np.median(1000 * rows.reshape(-1, images, len(_COLUMNS)), axis=0)  # (I, P)
    lower, middle, upper = np.percentile(by_image, [25, 50, 75], axis=0)
    there = {name: not np.isnan(value) for name, value in zip(_COLUMNS, middle)}
    regions, detections = (None if None in column else float(np.median(column)) for column in zip(*counts))
    return PartTimes(
        name=system.name,
        milliseconds={name: float(value) if there[name] else None for name, value in zip(_COLUMNS, middle)},
        spread={
            name: (float(low), float(high)) if there[name] else None for name, low, high in zip(_COLUMNS, lower, upper)
        },
        regions=regions,
        detections=detections,
        images=images,
        repetitions=len(rows) // images,
    )
