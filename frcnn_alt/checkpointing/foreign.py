"""Weights of another program under this package's names, in one form, with the record of where all of it came from.

The form is that of the released Caffe detectors, but for the background, which is last as in detectron2: two blocks
[background | object] of class logits of the RPN; anchors with the aspect ratio outer and the size inner, both rising;
box deltas in plain units (BBOX_REG_WEIGHTS of 1, statistics of mean 0 and deviation 1). `fit_to_model` makes of it what
a model expects (SPEC 1.6).

Shape letters: K classes, A anchors per cell.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch

from .errors import CheckpointError

__all__ = ["CAFFE_PIXELS", "RELEASED_FORM", "TORCHVISION_PIXELS", "ForeignWeights"]

# Value of "form" in the record of weights that `fit_to_model` has not seen yet.
RELEASED_FORM = "released"

# What the networks were fed (SPEC 1.6, 2): Caffe's with BGR from 0 to 255 less the mean, ...
CAFFE_PIXELS: Dict[str, Any] = {
    "input_format": "BGR",
    "pixel_mean": [102.9801, 115.9465, 122.7717],
    "pixel_std": [1.0, 1.0, 1.0],
}
# ... torchvision's with RGB from 0 to 1, normalised by (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225), here times 255.
TORCHVISION_PIXELS: Dict[str, Any] = {
    "input_format": "RGB",
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
}


@dataclass
class ForeignWeights:
    """What was read from one file, or from a pair.

    Attributes:
        files: their paths.
        pixels: "input_format", "pixel_mean" and "pixel_std" that the network was trained with.
        model: parameter name -> tensor on the CPU.
        layers: parameter name -> name of the layer in the file.
        not_used: layers with weights that no detector of this package has, such as the ImageNet classifier.
    """

    files: List[str]
    pixels: Dict[str, Any]
    model: Dict[str, torch.Tensor] = field(default_factory=dict)
    layers: Dict[str, str] = field(default_factory=dict)
    not_used: List[str] = field(default_factory=list)

    def check_finite(self, hint: str = "") -> None:
        """Raise CheckpointError naming the first layer with a number that is not finite; `hint` is added to it."""
        for name, tensor in self.model.items():
            if not torch.isfinite(tensor).all():
                kind = name.rsplit(".", 1)[1]
                raise CheckpointError(
                    f"{self.files[0]}: the {kind} of layer {self.layers[name]} holds numbers that are not finite.{hint}"
                )

    def to_checkpoint(self) -> Dict[str, Any]:
        """Return it as `read_checkpoint` does: "model", and the record under "frcnn_alt"."""
        record = {
            **self.pixels,
            "converted_from": list(self.files),
            "layers": dict(self.layers),
            "not_used": list(self.not_used),
            "form": RELEASED_FORM,
        }
        return {"model": self.model, "frcnn_alt": record}
