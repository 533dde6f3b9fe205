"""A batch as a file: what a training was looking at when its loss was not finite, for a person to look at too.

The file holds tensors and plain containers alone, so that ``torch.load(path, weights_only=True)`` reads it::

    {"iteration", "seed", "losses", "first_nonfinite", "images": [{"image": tensor, "file_name", "image_id", ...,
     "instances": {"gt_boxes": tensor, "gt_classes": tensor}, "proposals": {"proposal_boxes": tensor, ...}}]}

A batch of pre-training has "tensors" (images and classes) and "names" in place of "images".

Shape letters: C channels, H x W pixels of an image as the network gets it, G objects, R proposals, B = 4.
"""

import os
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ..checkpointing import write_checkpoint
from .defaults import ConfigError

__all__ = ["image_names", "objects_of", "read_batch", "save_batch"]


def _plain(value: Any) -> Any:
    """Tensors on the CPU, and what weights_only admits."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Boxes):
        return _plain(value.tensor)
    if isinstance(value, Instances):
        return {name: _plain(field) for name, field in value.get_fields().items()}
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def image_names(inputs: Any) -> List[str]:
    """What the images of a batch of detectron2's form are called: their files, else their ids."""
    if not isinstance(inputs, (list, tuple)):
        return []
    return [str(one.get("file_name", one.get("image_id", "?"))) for one in inputs if isinstance(one, dict)]


def save_batch(path: str, inputs: Any, names: List[str], about: Dict[str, Any]) -> None:
    """Write a batch.

    Args:
        path: of the file.
        inputs: what the model was given: detectron2's list of dicts, or tensors.
        names: of its images, for inputs that do not tell.
        about: what else the file is to hold.

    Raises:
        WriteError: it cannot be written.
    """
    images = {"images": _plain(inputs)}
    if not all(isinstance(one, dict) for one in inputs or ()):
        images = {"tensors": _plain(inputs), "names": list(names)}
    write_checkpoint({**_plain(about), **images}, path)


def read_batch(path: str) -> Dict[str, Any]:
    """Read what `save_batch` wrote.

    Raises:
        ConfigError: there is no such file, or it is something else.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: there is no such batch; a training that stops at NaN writes and names one.")
    try:
        batch = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of torch's, whatever the file is
        raise ConfigError(f"{path} cannot be read as a saved batch: {str(error).splitlines()[0]}") from None
    if not isinstance(batch, dict) or not ("images" in batch or "tensors" in batch) or "iteration" not in batch:
        raise ConfigError(f"{path} is no saved batch: those are called nonfinite_batch_<iteration>.pth.")
    return batch


def objects_of(batch: Dict[str, Any]) -> List[Tuple[torch.Tensor, List[Tuple[List[float], int]], str]]:
    """What there is to draw: for each image its pixels, its objects, and what it is called.

    Returns:
        pixels: C x H x W, in the order of INPUT.FORMAT, as the network got them; objects: (box, class), the box XYXY in
        these pixels; the file's name or the image's id.
    """
    drawn = []
    for image in batch.get("images", []):
        fields = image.get("instances", {})
        boxes, classes = fields.get("gt_boxes", torch.zeros(0, 4)), fields.get("gt_classes", torch.zeros(0))
        drawn.append((image["image"], list(zip(boxes.tolist(), classes.int().tolist())), image_names([image])[0]))
    if "tensors" in batch:
        images, classes = batch["tensors"]
        names = batch["names"] or [f"image {place}" for place in range(len(images))]
        drawn += [
            (pixels, [([0.0, 0.0, *pixels.shape[:0:-1]], int(label))], name)
            for pixels, label, name in zip(images, classes, names)
        ]
    return drawn
