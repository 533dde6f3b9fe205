"""Selective Search (Uijlings et al., IJCV 2013) by OpenCV's contrib module, with the settings of R-CNN's MATLAB code.

OpenCV's is a program of its own: the same idea, other boxes. docs/PROPOSALS.md lists where they differ.

Shape letters: H, W of an image; R boxes of it; B = 4.
"""

import ctypes
import functools
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple

import numpy as np

from .opencv import import_opencv, scale_to_width
from .proposal_set import ProposalSetError

__all__ = ["SelectiveSearch"]

# Of the graph segmentations that the hierarchies begin with: k, which is also their smallest region in pixels; sigma.
_K = {False: (50, 100), True: (50, 100, 150, 300)}  # fast mode (SPEC 9), quality mode
_SIGMA = 0.8


@functools.lru_cache(maxsize=None)
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@dataclass(frozen=True)
class SelectiveSearch:
    """Computes the boxes of an image; the same ones whatever was computed before, in whichever process.

    Attributes:
        boxes: at most this many of an image, the first of the library's order: a random one, in which regions that were
            merged seldom come early.
        quality: quality mode (five colour spaces, four similarities, four k) and not fast mode (HSV and Lab; colour,
            texture, size and fill, or the last three; k 50 and 100).
        width: search the image resized to so many pixels, as R-CNN's demo does with 500; 0 searches it as it is.
        smallest_side: in pixels of the image that is searched; boxes with a smaller one are left out.
    """

    boxes: int = 2000
    quality: bool = False
    width: int = 0
    smallest_side: int = 20

    def __post_init__(self) -> None:
        for name, value, least in (
            ("boxes", self.boxes, 1),
            ("width", self.width, 0),
            ("smallest side", self.smallest_side, 1),
        ):
            if value < least:
                raise ProposalSetError(f"Selective Search: {name} is {value}; it is {least} at least.")

    def settings(self) -> Dict[str, Any]:
        """What decides which boxes come out, for a set's metadata."""
        return {"method": "selective_search", **asdict(self), "k": _K[self.quality], "sigma": _SIGMA}

    def prepare(self) -> None:
        """Raise what a call would raise for want of a library, before there is an image."""
        import_opencv()

    def __call__(self, image: np.ndarray, image_id: str) -> Tuple[np.ndarray, np.ndarray]:
        """Return boxes (R x 4; XYXY, continuous pixels of `image`, inside it) and scores (R, R - 1 ... 1).

        Selective Search knows no confidence: the scores keep the library's order (SPEC 9).

        Args:
            image: H x W x 3, BGR.
            image_id: decides the random order.

        Raises:
            ProposalSetError: OpenCV's contrib module is not there.
        """
        searched = scale_to_width(image, self.width) if self.width else image
        if min(searched.shape[:2]) < self.smallest_side:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        # The library shuffles by C's rand(). Which boxes there are does not depend on it; which come first does.
        _c_library().srand(zlib.crc32(str(image_id).encode()))
        rectangles = np.asarray(self._search(np.ascontiguousarray(searched))).reshape(-1, 4)
        corner, size = rectangles[:, :2], rectangles[:, 2:]
        found = np.concatenate([corner, corner + size], axis=1)[(size >= self.smallest_side).all(axis=1)][: self.boxes]
        scale = np.array(image.shape[1::-1]) / np.array(searched.shape[1::-1])  # of x and of y
        boxes = np.minimum(found * np.tile(scale, 2), np.tile(image.shape[1::-1], 2))
        return boxes.astype(np.float32), np.arange(len(boxes), 0, -1, dtype=np.float32)

    def _search(self, image: np.ndarray) -> np.ndarray:
        """R x 4: x, y, width, height in whole pixels, no two alike."""
        segmentation = import_opencv().ximgproc.segmentation
        search = segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(image)
        if self.quality:
            search.switchToSelectiveSearchQuality()
        else:
            search.switchToSelectiveSearchFast()
        # Colour spaces and similarities are then those of the original; its k are not: 150, 300, 450, with smallest
        # regions of 100 pixels.
        search.clearGraphSegmentations()
        for k in _K[self.quality]:
            search.addGraphSegmentation(segmentation.createGraphSegmentation(_SIGMA, float(k), k))
        return search.process()
