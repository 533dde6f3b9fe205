"""Which proposals py-faster-rcnn trains on in an image with crowds (SPEC 6.5), by counting pixels.

Its best proposals are taken first; of these, one is dropped if more than a share of its pixels lies in a single crowd
box. A pixel belongs to a box that covers it; what lies outside of the image has no pixels.
"""

from fractions import Fraction
from typing import List, Sequence, Set, Tuple


def pixels(box: Sequence[int], height: int, width: int) -> Set[Tuple[int, int]]:
    """The pixels (row, column) of the image that a box with whole continuous corners covers."""
    x1, y1, x2, y2 = (int(value) for value in box)
    return {
        (row, column) for row in range(y1, y2) for column in range(x1, x2) if 0 <= row < height and 0 <= column < width
    }


def trained_on(
    proposals: Sequence[Sequence[int]],
    crowds: Sequence[Sequence[int]],
    height: int,
    width: int,
    share: Fraction,
    topk: int,
) -> List[int]:
    """The indices of the proposals, best first, that are trained on.

    Args:
        proposals: each x1, y1, x2, y2, whole numbers, the best first.
        crowds: likewise.
        height, width: of the image.
        share: a proposal is dropped if more of it lies in one crowd.
        topk: how many are taken.
    """
    kept = []
    for index, proposal in enumerate(proposals[:topk]):
        own = pixels(proposal, height, width)
        shares = [Fraction(len(own & pixels(crowd, height, width)), len(own)) for crowd in crowds] if own else []
        if not any(value > share for value in shares):
            kept.append(index)
    return kept
