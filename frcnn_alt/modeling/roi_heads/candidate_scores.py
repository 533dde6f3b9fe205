"""The scores of the boxes that enter NMS, which a cut-off over a whole data set is found from (SPEC 5.4).

NMS hides them: what it returns are the boxes that are left. A context variable carries them from the box predictor to
the meta architecture, because between these two detectron2's RoI heads hand on nothing but detections.

Shape letters: Ri regions of image i, K classes, T the most candidates that any class has in the image.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Iterator, List, Optional

import torch

__all__ = ["candidate_scores", "collect_candidate_scores", "report_candidate_scores"]

# Filled by the predictor, one tensor an image; None where nobody asks for them.
_collected: ContextVar[Optional[List[torch.Tensor]]] = ContextVar("frcnn_alt_candidate_scores", default=None)


def candidate_scores(scores: torch.Tensor, score_thresh: float) -> torch.Tensor:
    """Return the scores above `score_thresh` of each class, best first.

    Args:
        scores: (Ri, K + 1); the last column is the background.
        score_thresh: what a box has to exceed to enter NMS.

    Returns:
        (T, K), descending in every column; -inf fills the columns of classes with fewer candidates.
    """
    foreground = scores[:, :-1]
    above = foreground > score_thresh
    most = int(above.sum(dim=0).max()) if above.numel() else 0
    return foreground.masked_fill(~above, -float("inf")).sort(dim=0, descending=True).values[:most]


@contextmanager
def collect_candidate_scores(wanted: bool) -> Iterator[List[torch.Tensor]]:
    """Collect what box predictors report while the block runs.

    Args:
        wanted: False collects nothing, and the predictors do no work for it.

    Yields:
        A list, after the block with one tensor an image (see ``candidate_scores``), or empty if none was reported.
    """
    collected: List[torch.Tensor] = []
    token = _collected.set(collected if wanted else None)
    try:
        yield collected
    finally:
        _collected.reset(token)


def report_candidate_scores(scores: List[torch.Tensor], score_thresh: float) -> None:
    """Tell whoever collects, if anybody does, the scores of a batch; those of an earlier call are replaced.

    Args:
        scores: (Ri, K + 1) for each image.
        score_thresh: see ``candidate_scores``.
    """
    collected = _collected.get()
    if collected is not None:
        collected[:] = [candidate_scores(scores_of_image, score_thresh) for scores_of_image in scores]
