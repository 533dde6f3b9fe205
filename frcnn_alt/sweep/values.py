"""Where in a results file a metric of a table stands."""

import math
from typing import Any

__all__ = ["value_at"]


def value_at(content: Any, path: str) -> float:
    """The number at "bbox/AP50" of nested dictionaries and lists, times a factor ("0/recall * 100"), or a sum of such.

    Raises:
        KeyError: there is none.
        ValueError: the factor is no number.
    """
    if " + " in path:
        return sum(value_at(content, term) for term in path.split(" + "))
    path, _, text = path.partition(" * ")
    factor = float(text or 1)
    for key in path.split("/"):
        try:
            content = content[int(key)] if isinstance(content, list) else content[key]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise KeyError(f"no {key!r} of {path!r}") from error
    if content is None:  # NaN in a json file
        return math.nan
    if isinstance(content, bool) or not isinstance(content, (int, float)):
        raise KeyError(f"{path!r} is no number")
    return float(content) * factor
