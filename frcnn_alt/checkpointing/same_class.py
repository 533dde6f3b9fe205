"""Which class of one list is which of another: by name, and by the names that COCO and VOC have for the same thing."""

import difflib
import itertools
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from .errors import CheckpointError

__all__ = ["COCO_NAMES", "Difference", "first_difference", "rows_of_classes"]

# VOC's name -> COCO's, where they differ; "bicycle" and the other 13 are called the same.
COCO_NAMES: Dict[str, str] = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
_VOC_NAMES = {coco: voc for voc, coco in COCO_NAMES.items()}
_BACKGROUND = ("background", "__background__", "bg")


def _other_name(name: str) -> Optional[str]:
    return COCO_NAMES.get(name, _VOC_NAMES.get(name))


class Difference(NamedTuple):
    """Where two lists of class names part: a place, counted from 0, and what stands there, "none" after the end."""

    place: int
    ours: str
    theirs: str


def first_difference(ours: Sequence[str], theirs: Sequence[str]) -> Optional[Difference]:
    """Return the first place at which two lists do not name the same class, None if there is none.

    COCO's and VOC's name for the same thing are no difference.
    """
    for place, (one, other) in enumerate(itertools.zip_longest(ours, theirs)):
        if one is None or other is None or one not in (other, _other_name(other)):
            return Difference(place, *("none" if name is None else repr(name) for name in (one, other)))
    return None


def _check_list(names: Sequence[str], of_what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CheckpointError(f"{of_what} name {', '.join(twice)} twice: each class has one place.")
    if not names:
        raise CheckpointError(f"{of_what} are none: name one at least.")


def rows_of_classes(
    wanted: Sequence[str], known: Sequence[str], synonyms: Optional[Mapping[str, str]] = None
) -> List[int]:
    """Return for each wanted class its position among the known ones.

    Args:
        wanted: class names.
        known: class names of a detector, in the order of its rows.
        synonyms: wanted name -> known name, before anything else. A name that is not among them is looked for as it is,
            then as COCO or VOC call it (`COCO_NAMES`).

    Raises:
        CheckpointError: a wanted class is not known (near names are told), two of them are the same known one, a list
            is empty or has a name twice; the background is among the wanted; a synonym is of a class that is not.
    """
    wanted, known, synonyms = list(wanted), list(known), dict(synonyms or {})
    _check_list(wanted, "The classes to keep")
    _check_list(known, "The detector's classes")
    for name in synonyms:
        if name not in wanted:
            raise CheckpointError(f"A synonym is given for {name!r}, which is not among the classes to keep.")
    rows: List[int] = []
    for name in wanted:
        candidates = [synonyms[name]] if name in synonyms else [name, _other_name(name)]
        found = [candidate for candidate in candidates if candidate in known]
        if not found and name in _BACKGROUND:
            raise CheckpointError(
                f"The classes to keep name {name!r}: leave it out, the background is kept always and is in no list."
            )
        if not found:
            looked_for = candidates[0]
            near = difflib.get_close_matches(looked_for, known, n=3, cutoff=0.5)
            hint = f" Near it are {', '.join(near)}." if near else ""
            raise CheckpointError(
                f"The detector has no class {looked_for!r}.{hint} Where it has another name for it, say so with "
                f"--synonym '{name}=<its name there>'; its classes are {', '.join(known)}."
            )
        row = known.index(found[0])
        if row in rows:
            raise CheckpointError(
                f"{wanted[rows.index(row)]!r} and {name!r} would both be the detector's {found[0]!r}: keep one of them."
            )
        rows.append(row)
    return rows
