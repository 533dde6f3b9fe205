"""What can be wrong with a data set, as a value: readers collect problems instead of dying at the first one.

So that a user sees everything malformed at once, each with its file, before any training starts.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Hashable, Iterable, Optional, Sequence, Tuple

__all__ = ["DatasetError", "Problem", "box_problem", "describe_problems", "has_usable_box", "no_usable_box"]

# How much of a data set a problem spoils; what is left out with DATASETS.MALFORMED "leave_out".
DATA_SET, IMAGE, BOX = "data set", "image", "box"


class DatasetError(ValueError):
    """A data set that cannot be used as it is. The message names files and keys and says what to do."""


@dataclass(frozen=True)
class Problem:
    """One malformed thing.

    Attributes:
        kind: a few words, the same for all problems of this kind, e.g. "missing image".
        file: the file to look at.
        detail: what exactly; may be empty.
        scope: what has to be left out: "data set" (nothing can be used), "image" or "box".
        image_id: of the image it belongs to, when there is one.
    """

    kind: str
    file: str
    detail: str = ""
    scope: str = IMAGE
    image_id: Optional[Hashable] = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}" + (f": {self.detail}" if self.detail else "")


def describe_problems(problems: Sequence[Problem], max_lines: Optional[int] = None) -> str:
    """List problems grouped by kind, after one line of counts.

    Args:
        problems: at least one.
        max_lines: about how many problems to list, shared among the kinds so that none is hidden; None lists all.
    """
    counts = Counter(problem.kind for problem in problems)
    summary = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
    lines = [f"{len(problems)} problem{'' if len(problems) == 1 else 's'} in the data ({summary}):"]
    shown_per_kind = len(problems) if max_lines is None else max(1, max_lines // len(counts))
    for kind, count in counts.items():
        lines += [f"  {problem}" for problem in [p for p in problems if p.kind == kind][:shown_per_kind]]
        if count > shown_per_kind:
            lines.append(f"  ... and {count - shown_per_kind} more: {kind}")
    return "\n".join(lines)


def box_problem(box: Sequence[float], width: float, height: float) -> Optional[Tuple[str, str]]:
    """Say what is wrong with a box, as (kind, detail), or None.

    A corner less than one pixel outside is rounding, not a mistake (COCO has thousands); the mapper clips it.

    Args:
        box: x1, y1, x2, y2 in continuous pixels of the image.
        width, height: of the image in pixels.
    """
    x1, y1, x2, y2 = box
    text = f"({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if not all(math.isfinite(value) for value in box):
        return "corner that is not a number", text
    if x2 <= x1 or y2 <= y1:
        return "zero-size box", f"{text} in continuous corners x1, y1, x2, y2"
    if x1 <= -1 or y1 <= -1 or x2 >= width + 1 or y2 >= height + 1:
        return (
            "box outside the image",
            f"{text} in continuous corners x1, y1, x2, y2; the image is {width:g}x{height:g}",
        )
    return None


def has_usable_box(record: Dict[str, Any]) -> bool:
    """Whether a data set dictionary has an object to train on: one that is neither difficult nor a crowd."""
    return any(not annotation.get("iscrowd", 0) for annotation in record.get("annotations", ()))


def no_usable_box(names: Iterable[str]) -> DatasetError:
    """Return the error that says that data sets with these names have nothing to train on."""
    return DatasetError(
        f"No image of {', '.join(names)} has a box that is not marked difficult (in COCO json: iscrowd): nothing to "
        "train on."
    )
