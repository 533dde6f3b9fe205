"""The released Faster R-CNN networks from the image to the detections, in numpy and float64 (SPEC 1 to 5).

pixels less the mean -> convolutions -> RPN -> proposals -> RoI max pooling -> fc6, fc7 -> classes, boxes -> cut-offs.
Weights are {Caffe's layer name: (weight, bias)} in Caffe's layout: background is row 0 of cls_score and rows 0 to 3 of
bbox_pred, rpn_cls_score has nine background channels before nine of objects, and both regressors give raw deltas.
Boxes are (x1, y1, x2, y2) of their first and last pixels, counted from 0, up to the last step.

Not in here: the resizing of the pixels, which detectron2 does with Pillow; and the original programs' cut-off over a
whole data set (40 boxes of a class for each image on average).
"""

from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from ..anchors import anchors_of_map, cell_anchors
from ..box_coding import decode_matlab, decode_pyfrcnn
from ..proposal_selection import clip, is_large_enough
from ..roi_max_pooling import bins_of, cells_of
from .architectures import Architecture, region_features
from .layers import convolve, fully_connected, relu, softmax
from .suppression import suppress

PIXEL_MEAN = np.array([102.9801, 115.9465, 122.7717])  # blue, green, red


class Preset(NamedTuple):
    one_pixel_larger: bool  # decoding
    whole_pixels: bool  # RoI pooling rounds corners to pixels before it rounds them to cells
    top_of_class: Optional[int]  # boxes of a class that enter the suppression
    score_above: float
    detections_per_image: Optional[int]


PAPER = Preset(False, True, top_of_class=100, score_above=0.0, detections_per_image=None)
PYFRCNN = Preset(True, False, top_of_class=None, score_above=0.05, detections_per_image=100)


class Proposals(NamedTuple):
    boxes: np.ndarray  # (proposals, 4), best first
    scores: np.ndarray  # probability of an object
    decoded: int  # how many boxes there were,
    large_enough: int  # how many of them were left without the small ones,
    suppressed: int  # how many of the best of those the suppression took away


class Detections(NamedTuple):
    boxes: np.ndarray  # (detections, 4) x1, y1, x2, y2 in pixels of the original image, x2 and y2 where the box ends
    scores: np.ndarray
    classes: np.ndarray  # from 0, background not counted
    candidates: Dict[int, int]  # class -> boxes that entered the suppression
    proposals: Proposals
    deltas: np.ndarray  # (proposals, classes and background, 4)
    probabilities: np.ndarray  # (proposals, classes and background)


def move(boxes, deltas, height, width, preset):
    """Boxes that (dx, dy, dw, dh) make of others, clipped to the image."""
    decode = decode_pyfrcnn if preset.one_pixel_larger else decode_matlab
    moved = [clip(decode(box, delta), height, width) for box, delta in zip(boxes.tolist(), deltas.tolist())]
    return np.array(moved).reshape(-1, 4)


def propose(features, weights, architecture, preset, size, scale):
    """Proposals from the feature map.

    Args:
        size: (height, width) of the network's input, padding not counted.
        scale: (vertical, horizontal) pixels of that input per pixel of the original image.
    """
    hidden = relu(convolve(features, *weights[architecture.rpn_convolution], padding=1))
    logits = convolve(hidden, *weights["rpn_cls_score"])  # 18 channels
    deltas = convolve(hidden, *weights["rpn_bbox_pred"])  # 36 channels, four for an anchor
    rows, columns = features.shape[1:]
    scores = softmax(logits.reshape(2, 9, rows, columns), axis=0)[1].transpose(1, 2, 0).reshape(-1)
    deltas = deltas.reshape(9, 4, rows, columns).transpose(2, 3, 0, 1).reshape(-1, 4)

    boxes = move(np.array(anchors_of_map(rows, columns, cell_anchors())), deltas, *size, preset)
    decoded = len(boxes)
    large = np.array([is_large_enough(box, scale, least_side=16) for box in boxes.tolist()])
    boxes, scores = boxes[large], scores[large]
    best = np.argsort(-scores, kind="stable")[:6000]
    boxes, scores = boxes[best], scores[best]
    kept = suppress(boxes, scores, threshold=0.7)
    chosen = kept[:300]
    return Proposals(boxes[chosen], scores[chosen], decoded, int(large.sum()), len(boxes) - len(kept))


def pool_region(features, box, bins, whole_pixels):
    """RoI max pooling of one box to (channels, bins, bins), an empty bin giving 0.

    As ``oracles.roi_max_pooling.roi_max_pool``, for all channels at once.
    """
    left, top, columns, rows = cells_of(box, stride=16, inclusive_corners=False, round_corners=whole_pixels)
    pooled = np.zeros((len(features), bins, bins))
    for i, (first_row, end_row) in enumerate(bins_of(rows, bins, single_precision=True)):
        for j, (first_column, end_column) in enumerate(bins_of(columns, bins, single_precision=True)):
            cells = features[
                :,
                max(top + first_row, 0) : max(top + end_row, 0),
                max(left + first_column, 0) : max(left + end_column, 0),
            ]
            if cells.size:
                pooled[:, i, j] = cells.max(axis=(1, 2))
    return pooled


def cut_off(boxes, scores, preset):
    """Detections of one class: indices into boxes and scores, best first, and how many entered the suppression."""
    candidates = np.flatnonzero(scores > preset.score_above)
    best = candidates[np.argsort(-scores[candidates], kind="stable")][: preset.top_of_class]
    return best[suppress(boxes[best], scores[best], threshold=0.3)], len(best)


def infer(
    image: np.ndarray,
    original_size: Tuple[int, int],
    weights: Dict[str, Tuple[np.ndarray, np.ndarray]],
    architecture: Architecture,
    preset: Preset,
    padded_size: Optional[Tuple[int, int]] = None,
    regress_in_original_pixels: bool = False,
) -> Detections:
    """Detections of one image.

    Args:
        image: (height, width, 3), blue, green, red, 0 to 255, of the size in ``oracles.image_size``.
        original_size: (height, width) before it was resized.
        padded_size: (height, width) to which zeros extend the image to the right and below, as in a batch with a larger
            one; none by default.
        regress_in_original_pixels: take the proposals back to the original image before they are regressed, clipped and
            suppressed, as both programs do, instead of taking the detections back (SPEC 2 "box scaling"). The MATLAB
            release maps the first pixel to the first and the last to the last; py-faster-rcnn divides by the scale.
    """
    size = height, width = image.shape[:2]
    scale = height / original_size[0], width / original_size[1]
    pixels = np.zeros((3, *(padded_size or size)))
    pixels[:, :height, :width] = (image.astype(np.float64) - PIXEL_MEAN).transpose(2, 0, 1)
    features = architecture.features(pixels, weights)
    proposals = propose(features, weights, architecture, preset, size, scale)

    pooled = np.zeros((len(proposals.boxes), len(features), architecture.bins, architecture.bins))
    for index, box in enumerate(proposals.boxes):
        pooled[index] = pool_region(features, box, architecture.bins, preset.whole_pixels)
    hidden = region_features(pooled, weights, architecture)
    probabilities = softmax(fully_connected(hidden, *weights["cls_score"]), axis=1)
    deltas = fully_connected(hidden, *weights["bbox_pred"]).reshape(*probabilities.shape, 4)

    regions = proposals.boxes
    if regress_in_original_pixels:
        last = (height - 1) / (original_size[0] - 1), (width - 1) / (original_size[1] - 1)
        regions = regions / np.tile((scale if preset.one_pixel_larger else last)[::-1], 2)
        size, scale = original_size, (1.0, 1.0)

    found, candidates = [], {}
    for row in range(1, probabilities.shape[1]):  # row 0 is background
        boxes = move(regions, deltas[:, row], *size, preset)
        kept, candidates[row - 1] = cut_off(boxes, probabilities[:, row], preset)
        found += [(probabilities[i, row], row - 1, boxes[i]) for i in kept]
    found.sort(key=lambda detection: -detection[0])
    found = found[: preset.detections_per_image]

    boxes = np.array([box for _, _, box in found]).reshape(-1, 4) + [0, 0, 1, 1]
    return Detections(
        boxes / np.tile(scale[::-1], 2),
        np.array([score for score, _, _ in found]),
        np.array([label for _, label, _ in found], dtype=int),
        candidates,
        proposals,
        deltas,
        probabilities,
    )
