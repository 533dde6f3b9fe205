"""Values of JSON files that may hold anything: taken as what they should be, or refused."""

import math
import reprlib
from typing import Any, Dict

from .text import visible

__all__ = ["as_number", "as_number_or_nan", "as_numbers", "as_texts", "visible_data"]


def visible_data(data: Any) -> Any:
    """What json holds, with texts as `visible` shows them: plots and terminals take no halves of characters."""
    if isinstance(data, dict):
        return {visible(key): visible_data(value) for key, value in data.items()}
    if isinstance(data, list):
        return [visible_data(value) for value in data]
    return visible(data) if isinstance(data, str) else data


def as_number(value: Any, kind: type = float) -> Any:
    """A number as it is; a whole one where `kind` is int.

    Raises:
        TypeError: it is none, or no finite one, or too large to count anything.
    """
    is_number = isinstance(value, (int, kind)) and not isinstance(value, bool) and abs(value) < 1e15
    if not is_number:
        raise TypeError(f"the number {reprlib.repr(value)}")
    return value


def as_texts(values: Any, kind: type) -> Any:
    """A list, or a mapping, of texts.

    Raises:
        TypeError: it is none.
    """
    every = [*values, *values.values()] if isinstance(values, dict) else values
    if not isinstance(values, kind) or not all(isinstance(value, str) for value in every):
        raise TypeError(f"the texts {reprlib.repr(values)}")
    return values


def as_numbers(values: Any) -> Dict[str, float]:
    """A mapping to numbers. NaN, which json has not and the engine writes as null: no object is there to find."""
    if not isinstance(values, dict):
        raise TypeError(f"the numbers {reprlib.repr(values)}")
    return {name: as_number_or_nan(value) for name, value in values.items()}


def as_number_or_nan(value: Any) -> float:
    return math.nan if value is None or value != value else as_number(value)
