"""How the report writes numbers, the same in its tables, plots and pages."""

import html
import math
import unicodedata
from typing import Any, Dict, List, Optional, Tuple

__all__ = ["average_precision_by_class", "duration", "escape", "percent", "three_figures", "visible"]

_CLASS_PREFIX = "AP50-"


def visible(text: str) -> str:
    """Return `text` with what cannot be seen written out as Python writes it: "\\u202e" turns the rest of a line round.

    These are control characters but for the ends of lines, characters that change the direction of writing, other
    formats without a shape, and halves of characters, which no file can hold.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\n\t"
        else character
        for character in text
    )


def escape(value: Any) -> str:
    """Return any text as HTML that shows it, in an element or in a quoted attribute."""
    return html.escape(visible(str(value)))


def duration(seconds: Optional[float]) -> str:
    """Return "7 s", "3 min 05 s" or "2 h 07 min"; "-" for None."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole >= 3600:
        return "{} h {:02d} min".format(*divmod(round(whole / 60), 60))
    return "{} min {:02d} s".format(*divmod(whole, 60)) if whole >= 60 else f"{whole} s"


def three_figures(value: Optional[float]) -> str:
    """Return a number of at least 1 with three figures, whole ones from 100 on, an int as it is; "-" for None."""
    if value is None or isinstance(value, int):
        return "-" if value is None else str(value)
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def percent(value: Optional[float]) -> str:
    """Return a percentage with one decimal and no sign; "-" for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"


def average_precision_by_class(box_results: Dict[str, float]) -> List[Tuple[str, float]]:
    """Return (class name, AP50 in percent) in the order of the classes."""
    return [(key[len(_CLASS_PREFIX) :], value) for key, value in box_results.items() if key.startswith(_CLASS_PREFIX)]
