"""OpenCV's contrib module, imported when a box is asked of it: this package does without OpenCV otherwise."""

import functools
from typing import Any

import numpy as np

from .proposal_set import ProposalSetError

__all__ = ["import_opencv", "scale_to_width"]


@functools.lru_cache(maxsize=None)
def import_opencv() -> Any:
    """Return the module ``cv2``, with ``ximgproc`` in it, on one thread: several images are searched at once instead.

    Raises:
        ProposalSetError: there is no OpenCV, or one without the contrib module; it says what to install.
    """
    install = (
        'pip install "opencv-contrib-python-headless>=4.5.1" (the extra "opencv" of this package), after '
        "pip uninstall of any other opencv-python*, for only one of them may be installed"
    )
    try:
        import cv2
    except ImportError:
        raise ProposalSetError(
            f"Selective Search and EdgeBoxes are OpenCV's, which is not installed: {install}."
        ) from None
    if not hasattr(getattr(cv2, "ximgproc", None), "createEdgeBoxes"):
        raise ProposalSetError(
            f"OpenCV {cv2.__version__} is installed without its contrib module, which has Selective Search and "
            f"EdgeBoxes (cv2.ximgproc): {install}."
        )
    cv2.setNumThreads(1)
    return cv2


def scale_to_width(image: np.ndarray, width: int) -> np.ndarray:
    """Return `image` (H x W x 3) resized to `width` pixels with its proportions, at least one pixel high."""
    cv2 = import_opencv()
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    way = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=way)
