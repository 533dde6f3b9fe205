"""Pieces of the report's page as HTML text: tables, tiles, plots for light and dark, pairs of pictures."""

import base64
import io
from typing import Callable, Dict, List, Sequence, Tuple
from urllib.parse import quote

from PIL import Image

from .pictures import Picture
from .plots import DARK, LIGHT, Theme
from .run import StepRecord
from .table import RECALL_COLUMNS
from .text import duration, escape, percent

__all__ = ["picture_group", "plan_table", "plots", "recall_table", "table", "tiles"]

Plot = Tuple[str, Callable[[Theme], str]]  # what it shows, and a function that draws it as SVG


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False, numbers_from: int = 1) -> str:
    """A table whose first column is its rows' headings.

    Args:
        header: HTML of the columns' headings; none if empty.
        rows: HTML of the cells.
        numbers: whether the columns from `numbers_from` on are numbers, aligned right.
        numbers_from: a column, counted from 0.
    """
    width = max([len(header), *map(len, rows)])
    marks = [' class="number"' if numbers and column >= numbers_from else "" for column in range(width)]
    head = "".join(f"<th{mark}>{cell}</th>" for mark, cell in zip(marks, header))
    lines = ["<table>", f"<thead><tr>{head}</tr></thead>"] if header else ["<table>"]
    lines.append("<tbody>")
    for first, *others in rows:
        cells = "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks[1:], others))
        lines.append(f"<tr><th>{first}</th>{cells}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def tiles(numbers: Sequence[Tuple[str, str, str]]) -> str:
    """The headline numbers: (name, number, remark)."""
    if not numbers:
        return ""
    items = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(number)}<small>{escape(remark)}</small></dd></div>"
        for name, number, remark in numbers
    ]
    return "\n".join(['<dl class="tiles">', *items, "</dl>"])


def _learning_rates(step: StepRecord) -> str:
    rates = [f"{step.base_lr:g}"]
    rates += [f"{step.base_lr * step.gamma**n:g} from {drop:,}" for n, drop in enumerate(step.lr_steps, start=1)]
    return _keep("<br>".join(rates))


def _keep(html: str) -> str:
    """Keep the words of `html` on a line."""
    return f'<span class="keep">{html}</span>'


def _number_of_parameters(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 100_000 else f"{count:,} parameters"


def _components(names: Sequence[str], count: int) -> str:
    """Components and how many parameters they have; without components the count is that of single frozen layers."""
    lines = [escape(name) for name in names] or ["-"]
    return "<br>".join(lines + ([f'<span class="soft">{_number_of_parameters(count)}</span>'] if count else []))


def plan_table(steps: Sequence[StepRecord]) -> str:
    """What each step started from, trained and froze, for how long; on a small screen one block a step."""
    header = ["step", "initial weights", "trained", "frozen", "iterations", "learning rate", "time"]
    lines = [
        '<table class="plan">',
        f"<thead><tr>{''.join(f'<th>{name}</th>' for name in header)}</tr></thead>",
        "<tbody>",
    ]
    for step in steps:
        start = [f"{escape(name)}: {escape(source)}" for name, source in step.started_from.items()]
        if step.proposals_in and step.is_of_the_run:
            start.append(f"proposals: {escape(step.proposals_in)}")
        trained = [
            _components(step.trained, step.parameters.get("trained", 0)),
            _components(step.frozen, step.parameters.get("frozen", 0)),
            _keep(f"{step.max_iter:,} × {step.ims_per_batch} image{'s' if step.ims_per_batch != 1 else ''}"),
            _learning_rates(step),
        ]
        cells = [
            "-" if step.state == "left out" else "<br>".join(start),
            *(trained if step.is_of_the_run else ["-"] * len(trained)),
            _keep(duration(step.seconds) if step.state == "finished" else escape(step.state)),
        ]
        # The div keeps a cell's lines together beside its label where the cell is a grid.
        body = "".join(f'<td data-label="{name}"><div>{cell}</div></td>' for name, cell in zip(header[1:], cells))
        lines.append(f"<tr><th>{escape(step.title)}</th>{body}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def recall_table(recalls: Dict[str, Dict[str, float]]) -> str:
    """Recall of 300 proposals of each step, in percent."""
    rows = [
        [escape(name), *(percent(recall.get(k)) for k in RECALL_COLUMNS.values())] for name, recall in recalls.items()
    ]
    return table(["300 proposals, %", *RECALL_COLUMNS], rows, numbers=True)


def plots(items: Sequence[Plot], bare: bool = False, wide: bool = False) -> str:
    """Plots beside each other as far as the screen is wide, each in the colours of a light and of a dark page.

    Args:
        items: the plots.
        bare: without the element around them.
        wide: each on a line of its own.
    """
    lines: List[str] = []
    for description, draw in items:
        light, dark = (_data_uri(draw(theme).encode(), "image/svg+xml") for theme in (LIGHT, DARK))
        image = f'<img src="{light}" alt="{escape(description)}">'
        if dark != light:
            image = f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">{image}</picture>'
        lines.append(image)
    return "\n".join(lines if bare else [f'<div class="plots{" wide" if wide else ""}">', *lines, "</div>"])


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return _data_uri(buffer.getvalue(), "image/jpeg")


def picture_group(heading: str, pictures: Sequence[Picture], folder: str) -> str:
    """Pictures under a heading, ground truth beside detections; a click enlarges a pair within the page.

    Args:
        heading: text above them.
        pictures: what `save_pictures` returned.
        folder: of their files; tells apart pictures of the same file name.
    """
    if not pictures:
        return ""
    lines = [f"<h3>{escape(heading)}</h3>", '<div class="pictures">']
    for picture in pictures:
        name = escape(picture.image_id)
        # The page may be sent alone, without the files: the link leads to the pair itself, which CSS then enlarges.
        anchor = quote(f"{folder}/{picture.file_name}")
        lines += [
            f'<figure id="{anchor}"><a class="pair" href="#{anchor}">',
            f'<img src="{_jpeg(picture.truth)}" alt="Ground truth of image {name}">',
            f'<img src="{_jpeg(picture.detected)}" alt="Detections in image {name}"></a>',
            f"<figcaption>{name}: {escape(picture.caption)}</figcaption></figure>",
        ]
    return "\n".join([*lines, "</div>"])
