"""Layers of the released Caffe networks under this package's parameter names (SPEC 1.1, 1.2, 1.6).

ImageNet's ZF-net and VGG-16; py-faster-rcnn's detectors, trained alternately or end to end; the MATLAB release's region
proposal networks and detectors. Caffe's weights have PyTorch's layout: (out, in, height, width), (out, in), and fc6
flattens channel, row, column. What differs is where the background is: first in Caffe, last in detectron2.

Shape letters: K classes, A anchors per cell.
"""

import re
from typing import Dict, List, Optional

import numpy as np
import torch

from .errors import CheckpointError
from .foreign import CAFFE_PIXELS, ForeignWeights

__all__ = ["BBOX_PRED", "CLS_SCORE", "RPN_CONV", "RPN_DELTAS", "RPN_LOGITS", "name_caffe_layers"]

RPN_CONV = "proposal_generator.rpn_head.conv"
RPN_LOGITS = "proposal_generator.rpn_head.objectness_logits"
RPN_DELTAS = "proposal_generator.rpn_head.anchor_deltas"
CLS_SCORE = "roi_heads.box_predictor.cls_score"
BBOX_PRED = "roi_heads.box_predictor.bbox_pred"

_MODULES = {
    "rpn_conv1": RPN_CONV,  # py-faster-rcnn, ZF trained alternately
    "rpn_conv/3x3": RPN_CONV,  # its other networks
    "conv_proposal1": RPN_CONV,  # MATLAB
    "rpn_cls_score": RPN_LOGITS,
    "proposal_cls_score": RPN_LOGITS,
    "rpn_bbox_pred": RPN_DELTAS,
    "proposal_bbox_pred": RPN_DELTAS,
    "fc6": "roi_heads.box_head.fc6",
    "fc7": "roi_heads.box_head.fc7",
    "cls_score": CLS_SCORE,
    "bbox_pred": BBOX_PRED,
}
_BACKBONE_LAYER = re.compile(r"conv\d+(_\d+)?")  # conv1 (ZF), conv1_1 (VGG-16)
_FULLY_CONNECTED = "roi_heads."


def _module_of(layer: str) -> Optional[str]:
    return f"backbone.{layer}" if _BACKBONE_LAYER.fullmatch(layer) else _MODULES.get(layer)


def _with_axes(array: np.ndarray, axes: int, where: str) -> torch.Tensor:
    """Return `array` without the leading ones that the old form adds, as a tensor of its own."""
    while array.ndim > axes and array.shape[0] == 1:
        array = array[0]
    if array.ndim != axes:
        raise CheckpointError(f"{where} has the shape {array.shape}, but must have {axes} axes.")
    return torch.from_numpy(np.array(array))


def name_caffe_layers(layers: Dict[str, List[np.ndarray]], path: str) -> ForeignWeights:
    """Give layers their names in a detector of this package, background last.

    Args:
        layers: of `read_caffe_layers`; emptied, so that large networks are not held twice.
        path: of the file, for messages.

    Returns:
        ForeignWeights: with statistics of mean 0 and deviation 1 where there are box deltas, because the released
        deltas are in plain units already.

    Raises:
        CheckpointError: no layer is known, or one has other than two blobs or a shape that contradicts its kind, or
            holds a number that is not finite.
    """
    weights = ForeignWeights(files=[path], pixels=dict(CAFFE_PIXELS))
    for layer in list(layers):
        arrays = layers.pop(layer)
        module = _module_of(layer)
        if module is None:
            weights.not_used.append(layer)
            continue
        if len(arrays) != 2:
            raise CheckpointError(f"{path}: layer {layer} has {len(arrays)} blobs; weights and biases are expected.")
        axes = 2 if module.startswith(_FULLY_CONNECTED) else 4
        pair = {
            "weight": _with_axes(arrays[0], axes, f"{path}: the weight of layer {layer}"),
            "bias": _with_axes(arrays[1], 1, f"{path}: the bias of layer {layer}"),
        }
        if len(pair["weight"]) != len(pair["bias"]):
            raise CheckpointError(
                f"{path}: layer {layer} has {len(pair['weight'])} outputs, but {len(pair['bias'])} biases."
            )
        for kind, tensor in pair.items():
            name = f"{module}.{kind}"
            if name in weights.model:
                raise CheckpointError(f"{path}: layers {weights.layers[name]} and {layer} are both {module}.")
            weights.model[name], weights.layers[name] = tensor, layer
    if not weights.model:
        shown = ", ".join(weights.not_used[:6])
        raise CheckpointError(
            f"{path} is none of the networks that can be read: its layers are called {shown}. Known are ZF-net, VGG-16 "
            "and the detectors that py-faster-rcnn and the MATLAB release made of them."
        )
    _move_background_last(weights, path)
    weights.check_finite()
    _describe_deltas(weights, path)
    return weights


def _move_background_last(weights: ForeignWeights, path: str) -> None:
    """cls_score: K + 1 rows, background first -> last. bbox_pred: 4 (K + 1) rows -> 4K, without the background's."""
    model, cls_score, bbox_pred = weights.model, f"{CLS_SCORE}.bias", f"{BBOX_PRED}.bias"
    if cls_score in model and bbox_pred in model and len(model[bbox_pred]) != 4 * len(model[cls_score]):
        raise CheckpointError(
            f"{path}: cls_score has {len(model[cls_score])} rows and bbox_pred {len(model[bbox_pred])}; there must be "
            "four for each class, the background included."
        )
    for kind in ("weight", "bias"):
        if cls_score in model:
            model[f"{CLS_SCORE}.{kind}"] = model[f"{CLS_SCORE}.{kind}"].roll(-1, dims=0)
        if bbox_pred in model:
            model[f"{BBOX_PRED}.{kind}"] = model[f"{BBOX_PRED}.{kind}"][4:].clone()


def _describe_deltas(weights: ForeignWeights, path: str) -> None:
    model, logits, deltas = weights.model, f"{RPN_LOGITS}.bias", f"{RPN_DELTAS}.bias"
    if logits in model and deltas in model and 2 * len(model[logits]) != len(model[deltas]):
        raise CheckpointError(
            f"{path}: {weights.layers[logits]} has {len(model[logits])} channels and {weights.layers[deltas]} "
            f"{len(model[deltas])}; there must be two and four for each anchor."
        )
    rows = {}
    if deltas in model:
        rows["proposal_generator"] = 1
    if f"{BBOX_PRED}.bias" in model:
        rows["roi_heads.box_predictor"] = len(model[f"{BBOX_PRED}.bias"]) // 4
    for component, count in rows.items():
        model[f"{component}.box2box_transform.mean"] = torch.zeros(count, 4)
        model[f"{component}.box2box_transform.std"] = torch.ones(count, 4)
