"""The MATLAB release's two files, a region proposal network and a detector, joined to one network (SPEC 6.3)."""

import os
from typing import List

import torch

from .caffe_names import CLS_SCORE, RPN_LOGITS
from .errors import CheckpointError
from .foreign import ForeignWeights

__all__ = ["join_pair"]


def _split(pair: List[ForeignWeights]) -> List[ForeignWeights]:
    """Return (proposal network, detector), whichever came first."""
    proposals = [weights for weights in pair if f"{RPN_LOGITS}.bias" in weights.model]
    detectors = [weights for weights in pair if f"{CLS_SCORE}.bias" in weights.model]
    if len(pair) != 2 or len(proposals) != 1 or len(detectors) != 1 or proposals[0] is detectors[0]:
        raise CheckpointError(
            f"{' and '.join(weights.files[0] for weights in pair)} are no pair of a region proposal network (layers "
            "conv_proposal1, proposal_cls_score, proposal_bbox_pred) and a detector (fc6, fc7, cls_score, bbox_pred)."
        )
    return [proposals[0], detectors[0]]


def join_pair(pair: List[ForeignWeights]) -> ForeignWeights:
    """Join a region proposal network and a detector that share their convolutions.

    Args:
        pair: the two, in any order.

    Returns:
        ForeignWeights: backbone and proposal generator of the one, RoI heads of the other; fully connected layers that
        the proposal network carries along are among what is not used.

    Raises:
        CheckpointError: they are not such a pair, or their convolutions differ, which makes them two networks: those of
            steps 1 and 2, which share nothing (SPEC 6.4).
    """
    proposals, detector = _split(pair)
    rpn_file, detector_file = proposals.files[0], detector.files[0]
    names = [{name for name in weights.model if name.startswith("backbone.")} for weights in (proposals, detector)]
    different = sorted(names[0] ^ names[1]) + sorted(
        name for name in names[0] & names[1] if not torch.equal(proposals.model[name], detector.model[name])
    )
    if different:
        layers = sorted({{**proposals.layers, **detector.layers}[name] for name in different})
        raise CheckpointError(
            f"{rpn_file} and {detector_file} do not share their convolutions ({', '.join(layers)} differ): these are "
            "two networks, which no single detector can hold. Give the two final files of a 4-step training with "
            "shared convolutions."
        )
    joined = ForeignWeights(files=[rpn_file, detector_file], pixels=dict(proposals.pixels))
    for weights, prefixes in ((proposals, ("backbone.", "proposal_generator.")), (detector, ("roi_heads.",))):
        of_file = f" of {os.path.basename(weights.files[0])}"
        joined.not_used += [layer + of_file for layer in weights.not_used]
        for name, tensor in weights.model.items():
            if name.startswith(prefixes):
                joined.model[name] = tensor
                if name in weights.layers:
                    joined.layers[name] = weights.layers[name] + of_file
            elif name.endswith(".weight") and not name.startswith("backbone."):
                joined.not_used.append(weights.layers[name] + of_file)
    return joined
