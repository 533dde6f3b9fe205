"""EdgeBoxes (Zitnick and Dollar, ECCV 2014) by OpenCV's contrib module, set for an IoU of 0.7 as in the paper's tables.

The paper's edges are those of a structured forest, whose trained model OpenCV does not bring along. Without that file
the edges are gradients: the boxes are weaker then, and are not the paper's "EB" (docs/PROPOSALS.md).

Shape letters: H, W of an image; R boxes of it; B = 4.
"""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

from .opencv import import_opencv
from .proposal_set import ProposalSetError

__all__ = ["EdgeBoxes", "gradient_edges"]

ALPHA, BETA = 0.65, 0.75  # step of the sliding window, NMS: what its authors chose for an IoU of 0.7 (SPEC 8.1)

# Of the gradients: how far the grey image is smoothed, in pixels, and which part of the edge pixels counts as fully an
# edge. Chosen on generated shapes, by recall at 0.7.
_SMOOTHING, _QUANTILE = 2.0, 0.95

Edges = Tuple[np.ndarray, np.ndarray]


def gradient_edges(image: np.ndarray) -> Edges:
    """Return thinned edges by gradients, in the form of the structured edge detector.

    Args:
        image: H x W x 3, BGR.

    Returns:
        H x W strengths from 0 to 1, and H x W directions across the edge, in radians from 0 to pi, y downwards.
    """
    cv2 = import_opencv()
    grey = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY), (0, 0), _SMOOTHING)
    dx, dy = (cv2.Sobel(grey, cv2.CV_16S, *order) for order in ((1, 0), (0, 1)))
    thin = cv2.Canny(dx, dy, 0, 0, L2gradient=True) > 0  # no threshold: the pixels that no neighbour across exceeds
    strength = np.hypot(dx.astype(np.float32), dy.astype(np.float32)) * thin
    most = np.quantile(strength[thin], _QUANTILE) if thin.any() else 1.0
    direction = np.arctan2(dy, dx).astype(np.float32) % np.float32(np.pi)
    return np.clip(strength / most, 0, 1).astype(np.float32), direction


@functools.lru_cache(maxsize=1)
def _detector(model: str) -> Any:
    cv2 = import_opencv()
    try:
        return cv2.ximgproc.createStructuredEdgeDetection(model)
    except Exception as error:
        raise ProposalSetError(f"{model} is no model of OpenCV's structured edge detector: {error}") from None


def _structured_edges(image: np.ndarray, model: str) -> Edges:
    detector = _detector(model)
    edges = detector.detectEdges(np.ascontiguousarray(image[:, :, ::-1]).astype(np.float32) / 255)
    direction = detector.computeOrientation(edges)
    return detector.edgesNms(edges, direction), direction


@dataclass(frozen=True)
class EdgeBoxes:
    """Computes the boxes of an image, with EdgeBoxes' own scores.

    Attributes:
        boxes: at most this many of an image.
        edge_model: file of the structured edge detector (OpenCV's ``model.yml.gz``); "" takes gradients.
    """

    boxes: int = 2000
    edge_model: str = ""

    def __post_init__(self) -> None:
        if self.boxes < 1:
            raise ProposalSetError(f"EdgeBoxes: boxes is {self.boxes}; it is 1 at least.")
        if self.edge_model and not Path(self.edge_model).is_file():
            raise ProposalSetError(f"--edge-model {self.edge_model}: there is no such file.")

    def settings(self) -> Dict[str, Any]:
        """What decides which boxes come out, for a set's metadata."""
        edges: Any = {"by": "gradients", "smoothing": _SMOOTHING, "quantile": _QUANTILE}
        if self.edge_model:
            edges = {
                "by": "structured edge detector",
                "model_sha256": hashlib.sha256(Path(self.edge_model).read_bytes()).hexdigest(),
            }
        numbers = {"boxes": self.boxes, "alpha": ALPHA, "beta": BETA}
        return {"method": "edge_boxes", **numbers, "edges": edges}

    def prepare(self) -> None:
        """Raise what a call would raise for want of a library or a model, before there is an image."""
        import_opencv()
        if self.edge_model:
            _detector(self.edge_model)

    def __call__(self, image: np.ndarray, image_id: str) -> Tuple[np.ndarray, np.ndarray]:
        """Return boxes (R x 4; XYXY, continuous pixels of `image`, inside it) and scores (R), best first.

        Args:
            image: H x W x 3, BGR.
            image_id: not used; nothing is random here.

        Raises:
            ProposalSetError: OpenCV's contrib module is not there.
        """
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        if min(image.shape[:2]) < 3:  # the outermost pixels are never edges
            return nothing
        edges, direction = _structured_edges(image, self.edge_model) if self.edge_model else gradient_edges(image)
        # A new one for each image: it would keep what it noted of the last one.
        search = import_opencv().ximgproc.createEdgeBoxes(alpha=ALPHA, beta=BETA, maxBoxes=self.boxes)
        rectangles, scores = search.getBoundingBoxes(edges, direction)
        if len(rectangles) == 0:
            return nothing
        corner, size = rectangles[:, :2] - 1, rectangles[:, 2:]  # the library still counts pixels from 1, as MATLAB
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        kept = (size > 0).all(axis=1)
        return boxes[kept], np.ravel(scores).astype(np.float32)[kept]
