"""What yacs lets through although no key can mean it: null for anything, and texts in place of a list's numbers."""

import functools
from typing import Any, Iterator, List, Optional

from detectron2.config import CfgNode

from ..config import get_cfg

__all__ = ["kind_problems"]

_NUMBER, _TEXT = "numbers", "texts in quotes"
# Lists of names that are empty by default, from which nothing can be told.
_OF_TEXTS = (
    "DATASETS.TRAIN",
    "DATASETS.TEST",
    "DATASETS.PROPOSAL_FILES_TRAIN",
    "DATASETS.PROPOSAL_FILES_TEST",
    "DATASETS.VOC_LAYOUT.CLASSES",
    "MODEL.FREEZE_COMPONENTS",
    "MODEL.FREEZE_PATTERNS",
)
_OF_NUMBERS = ("MODEL.PYRAMID.SIZES_TEST", "MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME")


def _elements(value: Any) -> Iterator[Any]:
    """The elements of a list, of those inside it too."""
    for element in value:
        if isinstance(element, (list, tuple)):
            yield from _elements(element)
        else:
            yield element


def _kind(element: Any) -> Optional[str]:
    if isinstance(element, str):
        return _TEXT
    return _NUMBER if isinstance(element, (int, float)) and not isinstance(element, bool) else None


def _expected_kind(key: str, default: Any) -> Optional[str]:
    if key in _OF_TEXTS or key in _OF_NUMBERS:
        return _TEXT if key in _OF_TEXTS else _NUMBER
    kinds = {_kind(element) for element in _elements(default)}
    return kinds.pop() if len(kinds) == 1 else None


_default = functools.lru_cache(maxsize=1)(get_cfg)  # only read


def kind_problems(cfg: CfgNode, default: Optional[CfgNode] = None, prefix: str = "") -> List[str]:
    """Return which values of `cfg` are of another kind than those of `default`, one sentence each.

    Args:
        cfg: with all keys of `default`; yacs has compared the types, but for null and for what is in lists.
        default: the config before anything was merged into it; None is `get_cfg`'s. Of lists that are empty there it
            tells nothing, and of those that hold both numbers and texts.
        prefix: of the keys' names.
    """
    problems = []
    for name, usual in (_default() if default is None else default).items():
        key, value = f"{prefix}{name}", cfg.get(name)
        if isinstance(usual, CfgNode) and isinstance(value, CfgNode):
            problems += kind_problems(value, usual, f"{key}.")
        elif value is None and usual is not None:
            what = "keys below it" if isinstance(usual, CfgNode) else f"a value, such as its default, {usual!r}"
            problems.append(f"{key} is null: give it {what}, or leave it out.")
        elif isinstance(usual, (list, tuple)) and isinstance(value, (list, tuple)):
            expected = _expected_kind(key, usual)
            wrong = [element for element in _elements(value) if expected and _kind(element) != expected]
            if expected and not any(isinstance(one, (list, tuple)) for one in usual):
                wrong += [one for one in value if isinstance(one, (list, tuple))]
            if wrong:
                like = f", such as {usual!r}" if usual else ""
                problems.append(f"{key} is {value!r}, which holds {wrong[0]!r}: it takes {expected}{like}.")
    return problems
