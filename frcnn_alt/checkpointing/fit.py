"""From the released form of foreign weights to what one model expects, so that it gives the same boxes (SPEC 1.6).

Shape letters: K classes, A anchors per cell, C channels, B = 4.
"""

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts, convert_c2_detectron_names
from torch import nn

from ..modeling.proposal_generator import SoftmaxRPNHead
from .caffe_names import BBOX_PRED, CLS_SCORE, RPN_DELTAS, RPN_LOGITS
from .errors import CheckpointError
from .released import record_of_fitted, released_tensors

__all__ = ["fit_to_model", "released_anchor_positions"]

State = Dict[str, torch.Tensor]


def released_anchor_positions(cell_anchors: torch.Tensor) -> List[int]:
    """For each anchor of a cell, the place that an anchor of its shape has in the released networks.

    There the aspect ratio is the outer loop and the size the inner one, both rising; detectron2's
    ``DefaultAnchorGenerator`` has them the other way round, and a config may list them in any order.

    Args:
        cell_anchors: (A, 4) XYXY, as an anchor generator's ``cell_anchors`` of one level.
    """
    boxes = cell_anchors.detach().cpu().double().numpy()
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shape = np.log(height / width)
    by_shape = np.argsort(shape, kind="stable")
    ratio = np.empty(len(shape), dtype=np.int64)  # number of the aspect ratio; equal up to the rounding of float32
    ratio[by_shape] = np.cumsum(np.diff(shape[by_shape], prepend=shape[by_shape][:1]) > 1e-3)
    order = np.lexsort((width * height, ratio))
    return [int(position) for position in np.argsort(order)]


def _fit_proposal_generator(state: State, model: nn.Module, refuse: Callable[[str], None]) -> None:
    """[bg | fg] blocks -> the head's logits; the file's anchor order -> the generator's; plain deltas -> weighted."""
    generator = model.proposal_generator
    rows = {kind: state[f"{RPN_DELTAS}.{kind}"] for kind in ("weight", "bias")}
    num_anchors = len(rows["bias"]) // 4
    cell_anchors = next(iter(generator.anchor_generator.cell_anchors))
    if len(cell_anchors) != num_anchors:
        refuse(
            f"it has {num_anchors} anchors a cell, and the model of this config {len(cell_anchors)}: change "
            "MODEL.ANCHOR_GENERATOR.SIZES and ASPECT_RATIOS"
        )
    # Without numbers ("meta" device) there is nothing but shapes to fit, which the order does not change.
    order = list(range(num_anchors)) if cell_anchors.is_meta else released_anchor_positions(cell_anchors)
    factors = torch.tensor(generator.box2box_transform.weights)
    for kind, deltas in rows.items():
        per_anchor = deltas.unflatten(0, (num_anchors, 4))[order]
        per_anchor = per_anchor * factors.reshape(1, 4, *[1] * (per_anchor.dim() - 2))
        state[f"{RPN_DELTAS}.{kind}"] = per_anchor.flatten(0, 1)
        logits = state[f"{RPN_LOGITS}.{kind}"].unflatten(0, (2, num_anchors))[:, order]
        if isinstance(generator.rpn_head, SoftmaxRPNHead):
            state[f"{RPN_LOGITS}.{kind}"] = logits.flatten(0, 1)
        else:  # one sigmoid an anchor
            state[f"{RPN_LOGITS}.{kind}"] = logits[1] - logits[0]


def _fit_box_predictor(state: State, model: nn.Module, refuse: Callable[[str], None]) -> None:
    """Plain deltas -> weighted by MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS, or by statistics of mean 0 and deviation 1."""
    predictor = model.roi_heads.box_predictor
    num_classes = len(state[f"{CLS_SCORE}.bias"]) - 1
    model_classes = predictor.cls_score.out_features - 1
    if num_classes != model_classes:
        refuse(
            f"it tells {num_classes} classes apart, and the model of this config {model_classes} "
            f"(MODEL.ROI_HEADS.NUM_CLASSES): its last layers (cls_score, bbox_pred) fit that number only. Set it to "
            f"{num_classes}, or keep the rows of some classes with tools/convert_weights.py --classes, or start from "
            "ImageNet weights"
        )
    if predictor.bbox_pred.out_features != 4 * num_classes:
        refuse(
            "it has a box regressor for each class, and the model of this config one for all: set "
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG False"
        )
    factors = torch.tensor(predictor.box2box_transform.weights).repeat(num_classes)
    for kind, axes in (("weight", 2), ("bias", 1)):
        name = f"{BBOX_PRED}.{kind}"
        state[name] = state[name] * factors.reshape(-1, *[1] * (axes - 1))


def _fit_by_names_alike(checkpoint: Mapping[str, Any], model: nn.Module) -> Dict[str, Any]:
    """Let detectron2 find out which tensor is which: by the ends of their names, as for its ImageNet files.

    It leaves out those of another shape with a warning. Here they are kept, for whoever loads them to refuse.
    """
    is_caffe2 = checkpoint.get("__author__") == "Caffe2"
    tensors = dict(checkpoint["model"])
    state = align_and_update_state_dicts(model.state_dict(), dict(tensors), c2_conversion=is_caffe2)
    tensors = convert_c2_detectron_names(tensors)[0] if is_caffe2 else tensors
    for name in set(model.state_dict()) - set(state):
        alike = [other for other in tensors if f".{name}".endswith(f".{other}")]
        if alike:
            state[name] = tensors[max(alike, key=len)]
    return {**checkpoint, "model": state, "matching_heuristics": False}


def fit_to_model(
    checkpoint: Mapping[str, Any], model: nn.Module, only: Optional[Iterable[str]] = None
) -> Dict[str, Any]:
    """Bring foreign weights into the form that `model` expects; a file of this package stays as it is.

    What was fitted to a model before, as a converted file was, is fitted anew from what was released. Of a file whose
    names detectron2 has to guess ("matching_heuristics"), it guesses them here.

    The two logits of an anchor become one where the model's head has sigmoids; anchors are put in the order of the
    model's generator; rows of box deltas are scaled so that the decoded boxes stay the same.

    Args:
        checkpoint: of `read_checkpoint`; not changed.
        model: of which the components, their types and shapes are read; its tensors may be on the "meta" device, for
            which the order of the anchors is left as it is.
        only: names of the parameters that will be loaded; the others are neither fitted nor checked. Default: all.

    Returns:
        dict: a checkpoint whose "model" holds what the model has (and `only` names); the layers of the rest stand in
        the record's "not_used" (see `record_of_fitted` for what else it tells).

    Raises:
        CheckpointError: another number of classes or of anchors, regressors for all classes together, a layer of
            another shape, or a converted file that does not tell what it was before.
    """
    record = dict(checkpoint.get("frcnn_alt", {}))
    if checkpoint.get("matching_heuristics"):
        return _fit_by_names_alike(checkpoint, model)
    released = released_tensors(checkpoint)
    if released is None:
        return dict(checkpoint)
    files, layers = " and ".join(record["converted_from"]), record["layers"]

    def refuse(reason: str) -> None:
        raise CheckpointError(f"{files} does not fit: {reason}.")

    wanted = model.state_dict()
    if only is not None:
        wanted = {name: wanted[name] for name in only if name in wanted}
    state = {name: released[name] for name in wanted if name in released}
    if f"{RPN_LOGITS}.bias" in state and f"{RPN_DELTAS}.bias" in state:
        _fit_proposal_generator(state, model, refuse)
    if f"{CLS_SCORE}.bias" in state and f"{BBOX_PRED}.bias" in state:
        _fit_box_predictor(state, model, refuse)
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            refuse(
                f"layer {layers.get(name, name)} ({name}) has the shape {tuple(tensor.shape)}, but the model of this "
                f"config needs {tuple(wanted[name].shape)}: they are different architectures"
            )
    left = [layers[name] for name in released if name in layers and name not in state]
    record["not_used"] = list(dict.fromkeys(record["not_used"] + left))
    return {**checkpoint, "model": state, "frcnn_alt": record_of_fitted(record, released, state)}
