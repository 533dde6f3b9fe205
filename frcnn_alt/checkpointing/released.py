"""What a converted file remembers: the few tensors that fitting to one model changes, as they were released (SPEC 1.6).

Which logits, which order of the anchors and which units of the deltas are right depends on the model. A converted file
has them as one config needs them, so that any detectron2 program loads it, and in its record as they were. Here it is
fitted anew to whatever model loads it, as the original would be.
"""

from typing import Any, Dict, Mapping, Optional

import torch

from .caffe_names import BBOX_PRED, RPN_DELTAS, RPN_LOGITS
from .components import hash_tensors
from .errors import CheckpointError
from .foreign import RELEASED_FORM

__all__ = ["FITTED_FORM", "record_of_fitted", "released_tensors"]

# Value of "form" in the record of weights that `fit_to_model` made a model's.
FITTED_FORM = "fitted"

# The layers that are permuted, joined or scaled, and the statistics, which only some models have.
_DEPENDS_ON_MODEL = (
    *(f"{layer}." for layer in (RPN_LOGITS, RPN_DELTAS, BBOX_PRED)),
    *(f"{component}.box2box_transform." for component in ("proposal_generator", "roi_heads.box_predictor")),
)


def _dependent(state: Mapping[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(_DEPENDS_ON_MODEL)}


def record_of_fitted(
    record: Mapping[str, Any], released: Mapping[str, torch.Tensor], fitted: Mapping[str, torch.Tensor]
) -> Dict[str, Any]:
    """Return the record of weights that were fitted to a model.

    Args:
        record: as it was before; not changed.
        released: parameter name -> tensor in the released form.
        fitted: the same for the model; may lack what it has no use for.
    """
    components = {name.split(".")[0] for name in fitted}
    kept = {name: tensor for name, tensor in _dependent(released).items() if name.split(".")[0] in components}
    return {**record, "form": FITTED_FORM, "released": kept, "fitted_hash": hash_tensors(_dependent(fitted))}


def released_tensors(checkpoint: Mapping[str, Any]) -> Optional[Mapping[str, torch.Tensor]]:
    """Return all tensors of foreign weights in the released form, whether they were fitted to a model since or not.

    Args:
        checkpoint: of `read_checkpoint`.

    Returns:
        parameter name -> tensor; None for weights that are not foreign.

    Raises:
        CheckpointError: they were fitted, and it cannot be told what they were before.
    """
    record, state = checkpoint.get("frcnn_alt", {}), checkpoint["model"]
    if record.get("form") == RELEASED_FORM:
        return state
    dependent = _dependent(state)
    origin = " and ".join(record.get("converted_from", ()))
    if record.get("form") == FITTED_FORM:
        if hash_tensors(dependent) != record["fitted_hash"]:
            layers = ", ".join(sorted({name.rsplit(".", 1)[0] for name in dependent}))
            raise CheckpointError(
                f"In the file that was converted from {origin}, {layers} were changed afterwards, so it is not known "
                "which order of anchors and which units they have: convert the original again, or delete 'frcnn_alt' "
                "from the file if they are those of this config."
            )
        return {**{name: tensor for name, tensor in state.items() if name not in dependent}, **record["released"]}
    if origin and dependent:
        raise CheckpointError(
            f"The file that was converted from {origin} does not tell for which config, as those of earlier versions "
            "did not: under another one its boxes would be wrong. Convert the original again with "
            "tools/convert_weights.py, or name it in MODEL.WEIGHTS as it is."
        )
    return None
