"""The time of an image by part, beside the paper's Table 5: as JSON for programs, as a table for people, as a picture.

``parts.json``: {"systems": [{"name", "config", "weights", "device", "images_from", "proposals_from", "images",
"repetitions", "regions", "detections", "milliseconds": {part: median or null}, "spread": {part: [lower, upper quartile]
or null}}], "machine", "versions", "command"}. The parts are those of ``evaluation.PARTS``; beside them stand "total",
their sum, and "whole", the time of the whole measured by itself.
"""

import dataclasses
import json
import os
import shlex
from typing import Any, Dict, List, Optional, Sequence

from tabulate import tabulate

from ..evaluation import PartTimes
from .files import write_text
from .parts_plot import save_parts_plot
from .text import three_figures

__all__ = ["PAPER_ROWS", "parts_data", "parts_markdown", "parts_text", "write_parts"]

# Table 5 of the paper, and its images per second: a K40 GPU, Selective Search on a CPU (SPEC 8.4).
PAPER_ROWS: Dict[str, Dict[str, float]] = {
    "VGG SS+FRCN": {"conv": 146, "proposals": 1510, "region_wise": 174, "total": 1830, "images_per_second": 0.5},
    "VGG RPN+FRCN": {"conv": 141, "proposals": 10, "region_wise": 47, "total": 198, "images_per_second": 5},
    "ZF RPN+FRCN": {"conv": 31, "proposals": 3, "region_wise": 25, "total": 59, "images_per_second": 17},
}

# Key -> what its column is called.
_COLUMNS = {
    "image_preparation": "image preparation",
    "conv": "conv",
    "proposals": "proposal",
    "region_wise": "region-wise",
    "rest": "the rest",
    "total": "total",
    "whole": "by itself",
}


def parts_data(
    times: Sequence[PartTimes],
    facts: Sequence[Dict[str, Optional[str]]],
    machine: Dict[str, Any],
    versions: Dict[str, str],
    command: List[str],
) -> Dict[str, Any]:
    """Return what is written to ``parts.json``.

    Args:
        times: of each system.
        facts: of each system: "config", "weights", "device", "images_from", "proposals_from".
        machine: name -> value.
        versions: name -> version.
        command: the words that made it.
    """
    systems = [{"name": one.name, **of_one, **dataclasses.asdict(one)} for one, of_one in zip(times, facts)]
    return {"systems": systems, "machine": machine, "versions": versions, "command": command}


def write_parts(data: Dict[str, Any], folder: str, paper_rows: Optional[Sequence[str]] = None) -> List[str]:
    """Write ``parts.json``, ``parts.md`` and ``parts.png``, each replacing what was there in one go.

    Args:
        data: of `parts_data`.
        folder: made as needed.
        paper_rows: of ``PAPER_ROWS``, to be shown beside; None shows all.

    Returns:
        The files' paths.
    """
    paths = [os.path.join(folder, f"parts.{ending}") for ending in ("json", "md", "png")]
    write_text(paths[0], json.dumps(data, indent=2, allow_nan=False) + "\n")
    write_text(paths[1], parts_markdown(data, paper_rows) + "\n")
    save_parts_plot(data, {name: PAPER_ROWS[name] for name in _shown(paper_rows)}, _COLUMNS, paths[2])
    return paths


def _shown(paper_rows: Optional[Sequence[str]]) -> List[str]:
    return list(PAPER_ROWS if paper_rows is None else paper_rows)


def _table(data: Dict[str, Any], paper_rows: Optional[Sequence[str]], style: str) -> str:
    rows = []
    for system in data["systems"]:
        times = system["milliseconds"]
        cells = [three_figures(times.get(key)) for key in _COLUMNS]
        rows.append([system["name"], *cells, three_figures(1000 / times["whole"])])
    for name in _shown(paper_rows):
        row = PAPER_ROWS[name]
        cells = [three_figures(row.get(key)) for key in _COLUMNS]
        rows.append([f"the paper, K40: {name}", *cells, three_figures(row["images_per_second"])])
    header = ["ms an image", *_COLUMNS.values(), "images per second"]
    return _tabulate(rows, header, style)


def _tabulate(rows: List[List[str]], header: List[str], style: str, text_columns: int = 1) -> str:
    alignment = ["left"] * text_columns + ["right"] * (len(header) - text_columns)
    return tabulate(rows, header, tablefmt=style, disable_numparse=True, colalign=alignment)


def _quartiles(data: Dict[str, Any], style: str) -> str:
    rows = []
    for system in data["systems"]:
        spreads = [system["spread"].get(key) for key in _COLUMNS]
        cells = ["-" if spread is None else " to ".join(map(three_figures, spread)) for spread in spreads]
        rows.append([system["name"], *cells])
    return _tabulate(rows, ["quartiles over the images", *_COLUMNS.values()], style)


def _systems(data: Dict[str, Any], style: str) -> str:
    rows = []
    for system in data["systems"]:
        counts = ["-" if system[key] is None else f"{system[key]:g}" for key in ("regions", "detections")]
        images = f"{system['images']}: {system['images_from']}"
        rows.append([system["name"], system["config"], system["weights"], system["device"], images, *counts])
    header = ["system", "config", "weights", "device", "images", "regions an image", "detections"]
    return _tabulate(rows, header, style, text_columns=5)


def _notes(data: Dict[str, Any], paper_rows: Optional[Sequence[str]]) -> List[str]:
    systems = data["systems"]
    repetitions = systems[0]["repetitions"]
    notes = [
        f"Medians over the images, of each the median of {repetitions} repetitions; one image a batch. Image "
        "preparation is reading, resizing, moving to the device and normalising; proposal the RPN's layers, decoding "
        "and NMS; region-wise pooling, fc layers, softmax and the detector's NMS.",
        "The parts of each image add up to its total, their medians nearly. By itself is the whole, measured without "
        "borders between parts; images per second are of that.",
    ]
    if any(system["device"].startswith("cuda") for system in systems):
        notes.append("The GPU is waited for at every border, which makes the total a little larger than the whole.")
    if any(system["weights"] == "random" for system in systems):
        notes.append(
            "Random weights: the boxes are not those of a trained network, and NMS keeps other numbers of them."
        )
    for system in systems:
        if system["proposals_from"] is not None:
            without = system["milliseconds"]["proposals"] is None
            time = "is not in the figures" if without else "is the number that --proposal-time gave"
            notes.append(
                f"{system['name']} is given its proposals ({system['proposals_from']}); the time to make them {time}."
            )
    if _shown(paper_rows):
        notes.append(
            "The paper's rows are its Table 5, on a K40 with Selective Search on a CPU; its total is of three columns. "
            "The demo of its release times resizing with conv, the RPN's NMS with region-wise, not the detector's."
        )
    return notes


def _origin(data: Dict[str, Any]) -> List[str]:
    listings = {
        name: ", ".join(f"{key} {'none' if value is None else value}" for key, value in data[name].items())
        for name in ("machine", "versions")
    }
    return [
        f"- machine: {listings['machine']}",
        f"- versions: {listings['versions']}",
        f"- command: `python {shlex.join(data['command'])}`",
    ]


def parts_text(data: Dict[str, Any], paper_rows: Optional[Sequence[str]] = None) -> str:
    """Return the table for a terminal; arguments as of `write_parts`."""
    blocks = [_table(data, paper_rows, "simple"), _quartiles(data, "simple"), _systems(data, "simple")]
    return "\n\n".join([*blocks, "\n".join(_notes(data, paper_rows)), "\n".join(_origin(data))])


def parts_markdown(data: Dict[str, Any], paper_rows: Optional[Sequence[str]] = None) -> str:
    """Return the same as Markdown."""
    blocks = ["# Time by part", _table(data, paper_rows, "github"), _quartiles(data, "github")]
    return "\n\n".join([*blocks, _systems(data, "github"), *_notes(data, paper_rows), "\n".join(_origin(data))])
