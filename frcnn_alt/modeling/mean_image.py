"""A mean image in place of PIXEL_MEAN, as the MATLAB release and Caffe's ImageNet networks subtract one (SPEC 2).

Shape letters: H x W pixels and C channels of the mean image; Hi x Wi pixels of image i, as the network sees it.
"""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from torch import nn
from torch.nn import functional as F

from ..caffe_proto import BlobProto, blob_to_array
from ..safe_matlab import checked_variables

__all__ = ["MeanImage", "SubtractsMeanImage", "check_channels", "read_mean_image"]

_KEY = "MODEL.PIXEL_MEAN_IMAGE"


def _read_npy(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)  # np.load would open archives too


def _read_binaryproto(path: str) -> np.ndarray:
    """Caffe's mean file: (1, C, H, W)."""
    with open(path, "rb") as file:
        array = blob_to_array(BlobProto.FromString(file.read()))
    while array.ndim > 3 and len(array) == 1:
        array = array[0]
    return array.transpose(1, 2, 0) if array.ndim == 3 else array


def _read_mat(path: str) -> np.ndarray:
    """The MATLAB release's mean file: one variable, H x W x 3."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ValueError("a .mat file is read by scipy, which is not installed: `pip install scipy`") from None
    names = checked_variables(path)
    found = loadmat(path, variable_names=names) if names else {}
    arrays = {name: np.asarray(found[name]) for name in names}
    images = [value for value in arrays.values() if value.ndim == 3 and value.shape[2] == 3]
    if len(images) != 1:
        held = ", ".join(f"{name} {value.shape}" for name, value in arrays.items()) or "nothing"
        raise ValueError(f"it has to hold one array of height x width x 3, and it holds {held}")
    return images[0]


# extension -> its reader, and the order of its channels; None: that of INPUT.FORMAT. The release's own configuration
# says that its mean images are RGB, and it subtracts them before it swaps the channels for Caffe.
_FORMATS = {
    ".npy": (_read_npy, None),
    ".binaryproto": (_read_binaryproto, "BGR"),
    ".mat": (_read_mat, "RGB"),
}


def read_mean_image(path: str, input_format: str) -> np.ndarray:
    """Read a mean image.

    Args:
        path: ``.npy`` (H x W x C, channels in the order of `input_format`), Caffe's ``.binaryproto`` (C x H x W, BGR)
            or the MATLAB release's ``.mat`` (H x W x 3, RGB, the only such array in it; needs scipy).
        input_format: INPUT.FORMAT, the order of the channels that the network expects.

    Returns:
        float32, H x W x C, in the order of `input_format`; 0 to 255 like the images.

    Raises:
        ValueError: no such file, of an unknown kind, unreadable, of the wrong shape, or of channels that cannot be put
            in the order of `input_format`.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in _FORMATS:
        raise ValueError(f"{_KEY}: {path} must be a {', '.join(_FORMATS)} file.")
    if not os.path.isfile(path):
        raise ValueError(f"{_KEY}: {path} does not exist; '' subtracts MODEL.PIXEL_MEAN instead.")
    read, channels = _FORMATS[extension]
    try:
        image = read(path)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(f"{_KEY}: {path} cannot be read: {error}.") from error
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"{_KEY}: {path} must hold height x width x channels, and its shape is {image.shape}.")
    if image.dtype.kind not in "fiu" or not np.isfinite(image).all():
        raise ValueError(f"{_KEY}: {path} must hold finite numbers, and it holds {image.dtype}.")
    if channels not in (None, input_format):
        if image.shape[2] != 3 or input_format != channels[::-1]:
            raise ValueError(
                f"{_KEY}: {path} holds {image.shape[2]} channels, {channels}, and INPUT.FORMAT is {input_format!r}: "
                "it can be RGB or BGR, with three channels."
            )
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image, dtype=np.float32)


def check_channels(mean_image: np.ndarray, pixel_mean: Sequence[float]) -> None:
    """Raise ValueError if `mean_image`, H x W x C, has other channels than the input, whose number `pixel_mean` has."""
    if mean_image.shape[2] != len(pixel_mean):
        raise ValueError(
            f"{_KEY} has {mean_image.shape[2]} channels, but the network's input has {len(pixel_mean)}, the "
            "numbers of MODEL.PIXEL_MEAN."
        )


class MeanImage(nn.Module):
    """Subtracts a mean image, enlarged or shrunk bilinearly to each image.

    The mean image is no part of the state dict: it belongs to the input like PIXEL_MEAN, which is none either.

    Args:
        pixels: H x W x C, in the units and the channel order of the images.
    """

    def __init__(self, pixels: np.ndarray):
        super().__init__()
        self.register_buffer("pixels", torch.from_numpy(pixels).float().permute(2, 0, 1), persistent=False)

    def forward(self, images: List[torch.Tensor]) -> List[torch.Tensor]:
        """Images (C, Hi, Wi), of any type and device, less the mean; float, where the mean image is.

        A batch of images of one size, (N, C, Hi, Wi), may stand for an image.
        """
        return [image.to(self.pixels.device) - self._resized(image.shape[-2:]) for image in images]

    def _resized(self, size: Tuple[int, int]) -> torch.Tensor:
        return F.interpolate(self.pixels[None], size=tuple(size), mode="bilinear", align_corners=False)[0]


class SubtractsMeanImage:
    """For meta architectures: ``MODEL.PIXEL_MEAN_IMAGE``. Stands before detectron2's class among the bases.

    With a mean image, detectron2's ``pixel_mean`` is 0 and the images that it is given have been subtracted from;
    it divides by ``pixel_std`` and pads with zeros as ever.

    Args:
        mean_image: H x W x C as from ``read_mean_image``; None subtracts `pixel_mean`.
        pixel_mean: one number a channel, of no use beside a mean image.
        kwargs: of detectron2's class.

    Raises:
        ValueError: the mean image has other channels than the input.
    """

    @configurable
    def __init__(self, *, mean_image: Optional[np.ndarray] = None, pixel_mean: Tuple[float, ...], **kwargs: Any):
        if mean_image is not None:
            check_channels(mean_image, pixel_mean)
            pixel_mean = [0.0] * len(pixel_mean)
        super().__init__(pixel_mean=pixel_mean, **kwargs)
        self.mean_image = None if mean_image is None else MeanImage(mean_image)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        arguments = super().from_config(cfg)
        if cfg.MODEL.PIXEL_MEAN_IMAGE:
            arguments["mean_image"] = read_mean_image(cfg.MODEL.PIXEL_MEAN_IMAGE, cfg.INPUT.FORMAT)
        return arguments

    def subtract_mean_image(self, batched_inputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Return `batched_inputs` with the mean image subtracted from every "image"; they themselves stay."""
        if self.mean_image is None:
            return batched_inputs
        images = self.mean_image([one["image"] for one in batched_inputs])
        return [{**one, "image": image} for one, image in zip(batched_inputs, images)]
