"""Foreign weights to a file of this package that fits one config, for MODEL.WEIGHTS of any detectron2 program.

This package itself reads Caffe's and torchvision's files where it reads its own; a converted file is for programs that
do not, for reading faster, and for seeing what came from where. Here it is as good as the original under any config;
for other programs it tells which config it fits, because they cannot fit it anew.
"""

import functools
import operator
import os
from typing import Any, Dict, List, Mapping, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_anchor_generator
from tabulate import tabulate
from torch import nn

from ..checkpointing import (
    CheckpointError,
    fit_to_model,
    pixel_disagreement,
    pixels_of_config,
    read_checkpoint,
    write_checkpoint,
)
from .defaults import ConfigError
from .meta_model import build_meta_model

__all__ = ["convert_weights"]

# What the last layers of a detector depend on: the order of the anchors, the kind of logits, the units of the deltas.
_FITTED_TO = (
    "MODEL.ANCHOR_GENERATOR.NAME",
    "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    "MODEL.RPN.HEAD_NAME",
    "MODEL.RPN.BBOX_REG_WEIGHTS",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS",
)


def _table(state: Mapping[str, torch.Tensor], layers: Mapping[str, str]) -> str:
    rows = []
    for name, tensor in state.items():
        module, kind = name.rsplit(".", 1)
        if kind == "weight":
            rows.append([layers[name], module, " x ".join(map(str, tensor.shape))])
    return tabulate(rows, ["layer", "parameter", "weight"], disable_numparse=True)


def _report(cfg: CfgNode, checkpoint: Mapping[str, Any], wanted: Mapping[str, torch.Tensor], output: str) -> str:
    state, record = checkpoint["model"], checkpoint["frcnn_alt"]
    lines = [_table(state, record["layers"]), ""]
    not_found = list(dict.fromkeys(n.rsplit(".", 1)[0] for n in wanted if n not in state))
    lines.append(f"not found, so they start new: {', '.join(not_found) or 'nothing'}")
    lines.append(f"not used: {', '.join(record['not_used']) or 'nothing'}")
    mean, std = ([f"{value:.7g}" for value in record[name]] for name in ("pixel_mean", "pixel_std"))
    if record["fitted_to"]:
        shown = ", ".join(f"{key} {value}" for key, value in record["fitted_to"].items())
        lines.append(f"for programs without frcnn_alt, its last layers fit a config with {shown}")
    lines.append(f"trained on {record['input_format']} from 0 to 255, mean {' '.join(mean)}, deviation {' '.join(std)}")
    disagreement = pixel_disagreement(record, pixels_of_config(cfg), output)
    return "\n".join(lines + ([f"TO MEND in the config: {disagreement}"] if disagreement else []))


def _model_with_anchors(cfg: CfgNode) -> nn.Module:
    """The model of `cfg` without storage, but for its anchors, whose numbers tell their order."""
    model = build_meta_model(cfg)
    if hasattr(getattr(model, "proposal_generator", None), "anchor_generator"):
        shapes = model.backbone.output_shape()
        features = [shapes[name] for name in cfg.MODEL.RPN.IN_FEATURES]
        model.proposal_generator.anchor_generator = build_anchor_generator(cfg, features)
    return model


def convert_weights(cfg: CfgNode, files: Sequence[str], output: str, *, overwrite: bool = False) -> str:
    """Read foreign weights, fit them to the model of `cfg` and write them.

    Args:
        cfg: of the model that will load them.
        files: a ``.caffemodel``, torchvision's VGG-16, the MATLAB release's pair of ``.caffemodel``, or a ``.pth`` that
            was converted from these for another config.
        output: ``.pth`` to write: ``{"model": {parameter name: tensor}, "frcnn_alt": {pixels, origin, "fitted_to",
            the last layers as they were released}}``.
        overwrite: replace `output` if it exists.

    Returns:
        str: for people: what came from where, what was not found or not used, the pixels that the network wants and,
        if the config has others, the keys to set.

    Raises:
        ConfigError: `output` exists, or is no ``.pth``.
        CheckpointError: a file cannot be read, is not foreign, or does not fit the model.
    """
    if not output.endswith(".pth"):
        raise ConfigError(f"--output {output}: the name of the file to write ends in .pth.")
    if os.path.exists(output) and not overwrite:
        raise ConfigError(f"{output} exists already: choose another --output, or --overwrite it.")
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        raise ConfigError(f"{' and '.join(missing)}: there is no such file to convert.")
    checkpoint = read_checkpoint(",".join(files))
    if "form" not in checkpoint.get("frcnn_alt", {}):
        raise CheckpointError(
            f"{files[0]} is neither Caffe's nor torchvision's vgg16, which are all that is converted here. A file of "
            "this package needs no conversion: MODEL.WEIGHTS takes it as it is."
        )
    model = _model_with_anchors(cfg)
    fitted = fit_to_model(checkpoint, model)
    if not fitted["model"]:
        raise CheckpointError(f"{' and '.join(files)} and the model of this config have no layer in common.")
    record = fitted["frcnn_alt"]
    record["fitted_to"] = {
        key: functools.reduce(operator.getitem, key.split("."), cfg) for key in _FITTED_TO if record["released"]
    }
    content: Dict[str, Any] = {**fitted, "__author__": "frcnn_alt"}  # detectron2 takes the names as they are
    folder = os.path.dirname(output)
    if folder:
        os.makedirs(folder, exist_ok=True)
    write_checkpoint(content, output)
    parameters: Dict[str, torch.Tensor] = dict(model.named_parameters())
    lines: List[str] = [_report(cfg, fitted, parameters, output), f"wrote {output}"]
    return "\n".join(lines)
