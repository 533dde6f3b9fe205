"""Weights to a file of this package that fits one config, for MODEL.WEIGHTS of any detectron2 program.

This package itself reads Caffe's and torchvision's files where it reads its own; a converted file is for programs that
do not, for reading faster, and for seeing what came from where. Here it is as good as the original under any config;
for other programs it tells which config it fits, because they cannot fit it anew.

With classes to keep (``convert_classes.py``), a detector of this package or of detectron2 is converted too.
"""

import functools
import operator
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

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
from ..safe_write import make_folder
from .convert_classes import check_shapes, choose_classes
from .defaults import ConfigError
from .meta_model import build_meta_model
from .trained_network import configure_final_network

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
    lines = [_table(state, record["layers"]), ""] if "layers" in record else []
    not_found = list(dict.fromkeys(n.rsplit(".", 1)[0] for n in wanted if n not in state))
    lines.append(f"not found, so they start new: {', '.join(not_found) or 'nothing'}")
    lines.append(f"not used: {', '.join(record.get('not_used', ())) or 'nothing'}")
    if record.get("fitted_to"):
        shown = ", ".join(f"{key} {value}" for key, value in record["fitted_to"].items())
        lines.append(f"for programs without frcnn_alt, its last layers fit a config with {shown}")
    if {"input_format", "pixel_mean", "pixel_std"} <= set(record):
        mean, std = ([f"{value:.7g}" for value in record[name]] for name in ("pixel_mean", "pixel_std"))
        lines.append(
            f"trained on {record['input_format']} from 0 to 255, mean {' '.join(mean)}, deviation {' '.join(std)}"
        )
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


def _fit_foreign(cfg: CfgNode, checkpoint: Mapping[str, Any], model: nn.Module) -> Dict[str, Any]:
    fitted = fit_to_model(checkpoint, model)
    record = fitted["frcnn_alt"]
    record["fitted_to"] = {
        key: functools.reduce(operator.getitem, key.split("."), cfg) for key in _FITTED_TO if record["released"]
    }
    return fitted


def _check_paths(files: Sequence[str], output: str, overwrite: bool) -> None:
    if not output.endswith(".pth"):
        raise ConfigError(f"--output {output}: the name of the file to write ends in .pth.")
    if os.path.exists(output) and not overwrite:
        raise ConfigError(f"{output} exists already: choose another --output, or --overwrite it.")
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        raise ConfigError(f"{' and '.join(missing)}: there is no such file to convert.")


def convert_weights(
    cfg: CfgNode,
    files: Sequence[str],
    output: str,
    *,
    overwrite: bool = False,
    classes: str = "",
    from_classes: str = "",
    synonyms: Optional[Mapping[str, str]] = None,
) -> str:
    """Read weights, choose a detector's classes if asked to, fit them to the model of `cfg` and write them.

    Args:
        cfg: of the model that will load them.
        files: a ``.caffemodel``, torchvision's VGG-16, the MATLAB release's pair of ``.caffemodel``, or a ``.pth`` that
            was converted from these for another config; with `classes` or `from_classes` a detector of this package or
            of detectron2 as well.
        output: ``.pth`` to write: ``{"model": {parameter name: tensor}, "frcnn_alt": {pixels, origin, "fitted_to",
            the last layers as they were released, "classes"}}``.
        overwrite: replace `output` if it exists.
        classes: see `read_class_list`; the classes to keep, in this order. Default: all.
        from_classes: the same, of the file's own classes. Default: what it remembers.
        synonyms: name among `classes` -> name among the file's own; see `rows_of_classes`.

    Returns:
        str: for people: what came from where, what was not found or not used, the pixels that the network wants and,
        if the config has others, the keys to set.

    Raises:
        ConfigError: `output` exists, or is no ``.pth``; synonyms without `classes`.
        CheckpointError: a file cannot be read, is not foreign and no classes are to be chosen, or does not fit the
            model; the classes cannot be chosen (`select_classes`).
        DatasetError: `classes` or `from_classes` are no list.
    """
    _check_paths(files, output, overwrite)
    if synonyms and not classes:
        raise ConfigError("--synonym is of a class to keep: name those with --classes.")
    checkpoint = read_checkpoint(",".join(files))
    chosen: List[str] = []
    if classes or from_classes:
        checkpoint, table = choose_classes(checkpoint, " and ".join(files), classes, from_classes, synonyms or {})
        chosen = [table, ""]
    elif "form" not in checkpoint.get("frcnn_alt", {}):
        raise CheckpointError(
            f"{files[0]} is neither Caffe's nor torchvision's vgg16, which are all that is converted here. A file of "
            "this package needs no conversion: MODEL.WEIGHTS takes it as it is. Of a detector, --classes keeps the "
            "rows of some classes."
        )
    if "form" in checkpoint["frcnn_alt"]:
        model = _model_with_anchors(cfg)
        fitted = _fit_foreign(cfg, checkpoint, model)
    else:
        cfg = cfg.clone()
        cfg.defrost()
        configure_final_network(cfg)
        model = build_meta_model(cfg)
        fitted = check_shapes(checkpoint, model, files[0])
    if not set(fitted["model"]) & set(model.state_dict()):
        raise CheckpointError(f"{' and '.join(files)} and the model of this config have no layer in common.")
    content: Dict[str, Any] = {**fitted, "__author__": "frcnn_alt"}  # detectron2 takes the names as they are
    folder = os.path.dirname(output)
    if folder:
        make_folder(folder)
    write_checkpoint(content, output)
    parameters: Dict[str, torch.Tensor] = dict(model.named_parameters())
    return "\n".join([*chosen, _report(cfg, fitted, parameters, output), f"wrote {output}"])
