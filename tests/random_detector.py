"""Detectors with random weights whose scores and boxes spread like those of a trained one, and pictures for them."""

from pathlib import Path
from typing import Callable, Dict, Tuple

import frcnn_alt

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

Weights = Dict[str, Tuple[np.ndarray, np.ndarray]]


def detector_config(name: str, preset: str, *, width: float = 1 / 16, fc_dim: int = 48) -> CfgNode:
    """A config of this package under a preset, on the CPU, without weights and with fewer channels."""
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / name))
    cfg.merge_from_file(str(CONFIGS / "presets" / f"{preset}.yaml"))
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = width
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = fc_dim
    return cfg


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8: rectangles of all colours over soft clouds, with a little noise."""
    generator = np.random.default_rng(seed)
    clouds = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    pixels = np.array(clouds.resize((width, height), Image.BILINEAR), dtype=np.float64)
    for _ in range(12):
        top, left = generator.integers(0, height - 4), generator.integers(0, width - 4)
        bottom, right = top + generator.integers(4, height), left + generator.integers(4, width)
        pixels[top:bottom, left:right] = generator.integers(0, 256, 3)
    return np.clip(pixels + generator.normal(0, 10, pixels.shape), 0, 255).astype(np.uint8)


def _spread(deviations: Dict[nn.Module, float], run: Callable) -> None:
    """Scale and shift layers so that each of their outputs has mean 0 and this deviation over what `run` puts in."""
    outputs = {}

    def keep(layer, _, output):
        outputs[layer] = output

    hooks = [layer.register_forward_hook(keep) for layer in deviations]
    with torch.no_grad():
        run()
        for layer, deviation in deviations.items():
            by_output = outputs[layer].transpose(0, 1).flatten(1)
            factor = deviation / by_output.std(dim=1)
            layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.copy_((layer.bias - by_output.mean(dim=1)) * factor)
    for hook in hooks:
        hook.remove()


def randomise(model: nn.Module, image: np.ndarray, seed: int) -> None:
    """Give a detector random weights, biases and box statistics that tell the parts of `image` from each other.

    Args:
        image: (height, width, 3), of the size that the network sees.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan_in = parameter[0].numel()
            deviation = 0.2 if name.endswith(".bias") else (2 / fan_in) ** 0.5
            if not (name.startswith("backbone") and name.endswith(".weight")):  # those suit pixels of 0 to 255 already
                parameter.normal_(0.0, deviation, generator=generator)
        for part in (model.proposal_generator, model.roi_heads.box_predictor):
            if hasattr(part.box2box_transform, "set_statistics"):
                shape = part.box2box_transform.mean.shape
                mean = torch.randn(shape, generator=generator) * 0.05
                part.box2box_transform.set_statistics(mean, 0.1 + 0.1 * torch.rand(shape, generator=generator))
    inputs = [{"image": torch.as_tensor(image.transpose(2, 0, 1).astype("float32"))}]
    rpn_head, predictor = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
    has_statistics = hasattr(model.proposal_generator.box2box_transform, "set_statistics")
    deltas = 1.0 if has_statistics else 0.15
    _spread({rpn_head.objectness_logits: 1.5, rpn_head.anchor_deltas: deltas}, lambda: model(inputs))
    _spread({predictor.cls_score: 2.0, predictor.bbox_pred: 1.0}, lambda: model(inputs))


def caffe_weights(model: nn.Module, rpn_convolution: str) -> Weights:
    """The weights of a detector as the released Caffe models hold them.

    The background comes first, box statistics are folded into the regressors, and the regressor of the background,
    which nobody may use, is not a number.
    """
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def layer(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def without_statistics(name, transform):
        weight, bias = layer(name)
        if f"{transform}.mean" not in state:
            return weight, bias
        repeats = len(bias) // state[f"{transform}.mean"].size
        mean, std = (np.tile(state[f"{transform}.{value}"].reshape(-1), repeats) for value in ("mean", "std"))
        return weight * std.reshape(-1, *[1] * (weight.ndim - 1)), bias * std + mean

    head, predictor = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    convolutions = {name.rpartition(".")[0] for name in state if name.startswith("backbone.conv")}
    weights = {name.split(".")[1]: layer(name) for name in convolutions}
    weights[rpn_convolution] = layer(f"{head}.conv")
    weights["rpn_cls_score"] = layer(f"{head}.objectness_logits")
    weights["rpn_bbox_pred"] = without_statistics(f"{head}.anchor_deltas", "proposal_generator.box2box_transform")
    for name in ("fc6", "fc7"):
        weights[name] = layer(f"roi_heads.box_head.{name}")
    weights["cls_score"] = tuple(np.roll(values, 1, axis=0) for values in layer(f"{predictor}.cls_score"))
    weights["bbox_pred"] = tuple(
        np.concatenate([np.full_like(values[:4], np.nan), values])
        for values in without_statistics(f"{predictor}.bbox_pred", f"{predictor}.box2box_transform")
    )
    return weights
