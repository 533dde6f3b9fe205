"""What pixels a network was trained on, and whether a config or a model feeds it the same (SPEC 1.6, 2).

Weights fed with other pixels than they were trained on do not fail; they lose some points of mAP. So files that are
converted or pre-trained here carry a record, and loading compares it.
"""

from typing import Any, Dict, Mapping, Sequence, Union

from detectron2.config import CfgNode
from torch import nn

from .errors import CheckpointError

__all__ = ["check_pixels", "pixel_disagreement", "pixels_of_config", "pixels_of_model"]

_KEYS = {"input_format": "INPUT.FORMAT", "pixel_mean": "MODEL.PIXEL_MEAN", "pixel_std": "MODEL.PIXEL_STD"}
_TOLERANCE = 1e-3  # of 255: single precision, and means given with fewer digits


def pixels_of_config(cfg: CfgNode) -> Dict[str, Any]:
    """Return "input_format", "pixel_mean" and "pixel_std" of `cfg`.

    With MODEL.PIXEL_MEAN_IMAGE there is no "pixel_mean": the image is subtracted in its place, and a file that records
    one number a channel says nothing about it.
    """
    pixels = {
        "input_format": cfg.INPUT.FORMAT,
        "pixel_mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
        "pixel_std": [float(value) for value in cfg.MODEL.PIXEL_STD],
    }
    if cfg.MODEL.get("PIXEL_MEAN_IMAGE", ""):
        del pixels["pixel_mean"]
    return pixels


def pixels_of_model(model: nn.Module) -> Dict[str, Any]:
    """Return what `model` tells of "input_format", "pixel_mean" and "pixel_std", as detectron2's R-CNNs do.

    A model on the "meta" device has no numbers to tell; one with a mean image (``mean_image``) tells no mean.
    """
    pixels: Dict[str, Any] = {}
    if getattr(model, "input_format", None):
        pixels["input_format"] = model.input_format
    for name in ("pixel_mean", "pixel_std"):
        value = getattr(model, name, None)
        if value is not None and not value.is_meta:
            pixels[name] = value.flatten().tolist()
    if getattr(model, "mean_image", None) is not None:
        pixels.pop("pixel_mean", None)
    return pixels


def _same(one: Union[str, Sequence[float]], other: Union[str, Sequence[float]]) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return len(one) == len(other) and all(abs(a - b) <= _TOLERANCE for a, b in zip(one, other))


def _as_override(value: Union[str, Sequence[float]]) -> str:
    return value if isinstance(value, str) else '"[' + ",".join(f"{number:.7g}" for number in map(float, value)) + ']"'


def pixel_disagreement(record: Mapping[str, Any], pixels: Mapping[str, Any], path: str) -> str:
    """Compare what weights were trained with to what they will be fed.

    Args:
        record: "frcnn_alt" of a checkpoint; what it does not tell is not compared.
        pixels: of `pixels_of_config` or `pixels_of_model`; likewise.
        path: of the weights.

    Returns:
        str: one sentence with the keys to set, or "" where nothing disagrees.
    """
    told = {name: record[name] for name in _KEYS if name in record}
    different = [name for name in told if name in pixels and not _same(told[name], pixels[name])]
    if not different:
        return ""
    is_now = ", ".join(f"{_KEYS[name]} is {_as_override(pixels[name])}" for name in different)
    setting = " ".join(f"{_KEYS[name]} {_as_override(value)}" for name, value in told.items())
    return f"{path} was trained on other pixels than it would be fed, for {is_now}. Set: {setting}"


def check_pixels(record: Mapping[str, Any], pixels: Mapping[str, Any], path: str) -> None:
    """Raise CheckpointError with the sentence of `pixel_disagreement`, if there is one."""
    disagreement = pixel_disagreement(record, pixels, path)
    if disagreement:
        raise CheckpointError(disagreement)
