"""How boxes become regression targets and deltas become boxes again: statistics of the targets, and both decodings.

Both alternating programs whiten the targets and fold the statistics into the weights when they save. Here the network
works in normalised units throughout and the statistics live in the transform, as buffers that travel in the state
dict; so weights handed from one step to another keep their meaning (SPEC 5.3). The decoding of MATLAB is the inverse of
the coding; that of py-faster-rcnn is not (SPEC 4.4).

Shape letters: R regions, K classes, C rows of statistics (K, or 1 where all classes share a row), B = 4.
Naming convention: deltas are (dx, dy, dw, dh) as in detectron2's ``Box2BoxTransform``.
"""

from typing import Optional, Sequence, Tuple, Union

import numpy as np
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from torch import nn

__all__ = [
    "BoxRegressionStatistics",
    "NormalizedBox2BoxTransform",
    "OnePixelLargerBox2BoxTransform",
    "build_box2box_transform",
]

Weights = Tuple[float, float, float, float]

# A ten-thousandth of a box side. Where all samples agree, a smaller deviation would only magnify rounding.
MINIMAL_DEVIATION = 1e-4


class OnePixelLargerBox2BoxTransform(Box2BoxTransform):
    """``Box2BoxTransform`` that decodes as py-faster-rcnn does: every x2 and y2 comes out 1 larger (SPEC 4.4).

    py-faster-rcnn adds half of the width to the centre, which is where a box ends, and then takes that for the last
    pixel of the box. The coding of targets knows no such 1. Applied wherever boxes are decoded, before they are
    clipped, and in the pixels of what is decoded: those of the network's input. py-faster-rcnn's RPN has the same
    pixel; its detector decodes in pixels of the original image, so that its pixel there is `scale` of ours, where
    `scale` is how much the image was enlarged (1.6 for a VOC image of 500 x 375), and the box 1 - 1 / `scale` original
    pixels larger than ours.
    """

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (R, 4n) that `deltas` (R, 4n) make of `boxes` (R, 4), XYXY; x2 and y2 are one pixel further."""
        decoded = super().apply_deltas(deltas, boxes)
        return decoded + decoded.new_tensor([0.0, 0.0, 1.0, 1.0]).repeat(decoded.shape[1] // 4)


_DECODINGS = {"inverse": Box2BoxTransform, "one_pixel_larger": OnePixelLargerBox2BoxTransform}


def build_box2box_transform(
    weights: Sequence[float], *, decoding: str = "inverse", num_classes: Optional[int] = None
) -> Union[Box2BoxTransform, "NormalizedBox2BoxTransform"]:
    """Build the transform between boxes and deltas of the RPN or the detector.

    Args:
        weights: factors of (dx, dy, dw, dh), as in ``Box2BoxTransform``.
        decoding: "inverse" or "one_pixel_larger" (``MODEL.BBOX_DECODING``); the coding is the same with both.
        num_classes: rows of the box statistics, 1 where all classes share a row; None builds a transform without any.

    Raises:
        ValueError: an unknown decoding.
    """
    if num_classes is not None:
        return NormalizedBox2BoxTransform(weights, num_classes, decoding=decoding)
    if decoding not in _DECODINGS:
        raise ValueError(f"MODEL.BBOX_DECODING is {decoding!r}; it must be one of {tuple(_DECODINGS)}.")
    return _DECODINGS[decoding](weights=tuple(float(weight) for weight in weights))


class NormalizedBox2BoxTransform(nn.Module):
    """detectron2's ``Box2BoxTransform`` between boxes and normalised deltas t = (deltas - mean) / std.

    Until ``set_statistics`` is called, mean is 0 and std is 1, that is, nothing is normalised.

    Args:
        weights: factors of (dx, dy, dw, dh) before normalisation, as in ``Box2BoxTransform``.
        num_classes: C, the rows of the statistics: K for class-specific regressors, 1 for one row for everything.
        decoding: as in ``build_box2box_transform``.
    """

    def __init__(
        self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), num_classes: int = 1, *, decoding: str = "inverse"
    ) -> None:
        super().__init__()
        self.weights: Weights = tuple(float(weight) for weight in weights)
        self.box2box_transform = build_box2box_transform(self.weights, decoding=decoding)
        self.register_buffer("mean", torch.zeros(num_classes, 4))
        self.register_buffer("std", torch.ones(num_classes, 4))

    def new_statistics(self, add_mirror_images: bool = True) -> "BoxRegressionStatistics":
        """An empty accumulator whose result fits ``set_statistics``."""
        return BoxRegressionStatistics(len(self.mean), self.weights, add_mirror_images)

    def set_statistics(
        self, mean: Union[torch.Tensor, np.ndarray, Sequence], std: Union[torch.Tensor, np.ndarray, Sequence]
    ) -> None:
        """Set mean and std, each of shape (C, 4), in place.

        Raises:
            ValueError: wrong shape, a value that is not finite, or a std that is not positive.
        """
        values = {"mean": torch.as_tensor(mean), "std": torch.as_tensor(std)}
        for name, value in values.items():
            if value.shape != self.mean.shape:
                raise ValueError(
                    f"box regression {name} must have the shape {tuple(self.mean.shape)}, got {tuple(value.shape)}"
                )
            if not torch.isfinite(value).all():
                raise ValueError(f"box regression {name} must be finite, got {value.tolist()}")
        if not (values["std"] > 0).all():
            raise ValueError(f"box regression std must be positive, got {values['std'].tolist()}")
        self.mean.copy_(values["mean"])
        self.std.copy_(values["std"])

    def get_deltas(
        self, src_boxes: torch.Tensor, target_boxes: torch.Tensor, classes: Optional[torch.Tensor] = None
    ) -> torch.Tensor:
        """Normalised deltas that take `src_boxes` to `target_boxes`.

        Args:
            src_boxes: (R, 4) XYXY, continuous coordinates.
            target_boxes: (R, 4) likewise.
            classes: (R,) in [0, K), the row of statistics of each; may be left out, and is ignored, if C = 1.

        Returns:
            (R, 4).

        Raises:
            ValueError: C > 1 and no classes are given.
        """
        deltas = self.box2box_transform.get_deltas(src_boxes, target_boxes)
        if len(self.mean) == 1:
            mean, std = self.mean, self.std
        elif classes is None:
            raise ValueError(f"box regression statistics of {len(self.mean)} classes: get_deltas needs the classes")
        else:
            mean, std = self.mean[classes], self.std[classes]
        return (deltas - mean) / std

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes that normalised deltas make of `boxes`.

        Args:
            deltas: (R, 4C), class by class; where C = 1 any (R, 4n), all with the one row of statistics.
            boxes: (R, 4) XYXY, continuous coordinates.

        Returns:
            the shape of `deltas`, XYXY.

        Raises:
            ValueError: the columns of `deltas` do not fit C.
        """
        rows = len(self.mean)
        if deltas.shape[1] % 4 or (rows > 1 and deltas.shape[1] != 4 * rows):
            raise ValueError(f"deltas of shape {tuple(deltas.shape)} do not fit box statistics of {rows} classes")
        # In single precision from here on, as Box2BoxTransform decodes.
        per_class = deltas.float().reshape(len(deltas), deltas.shape[1] // 4, 4)
        return self.box2box_transform.apply_deltas((per_class * self.std + self.mean).reshape(deltas.shape), boxes)

    def extra_repr(self) -> str:
        return f"weights={self.weights}, num_classes={len(self.mean)}"


class BoxRegressionStatistics:
    """Mean and standard deviation of regression targets, gathered image by image.

    Both original programs append the flipped images to the training set, so that they count too (SPEC 5.3).

    Args:
        num_classes: C, the rows of the result: K, or 1 where all classes share a row.
        weights: those of the ``Box2BoxTransform`` that uses the result.
        add_mirror_images: every sample counts together with its mirror image, whose dx has the other sign, so that
            the mean of dx is 0; for regions of a flipped image that are mirrored ones. Else samples count as given.
    """

    def __init__(
        self,
        num_classes: int = 1,
        weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        add_mirror_images: bool = True,
    ) -> None:
        self.num_classes = num_classes
        self.add_mirror_images = add_mirror_images
        self._transform = Box2BoxTransform(weights=tuple(float(weight) for weight in weights))
        # Double precision: sums over millions of samples, of which small differences are taken.
        self._count = torch.zeros(num_classes, 1, dtype=torch.float64)
        self._sum = torch.zeros(num_classes, 4, dtype=torch.float64)
        self._sum_of_squares = torch.zeros(num_classes, 4, dtype=torch.float64)

    @property
    def num_samples(self) -> int:
        """How many samples were counted, added mirror images aside."""
        return int(self._count.sum())

    def update(self, src_boxes: torch.Tensor, gt_boxes: torch.Tensor, classes: Optional[torch.Tensor] = None) -> None:
        """Count the targets of `src_boxes` matched to `gt_boxes`.

        Args:
            src_boxes: (R, 4) XYXY, continuous; R may be 0.
            gt_boxes: (R, 4), the object that each is matched to.
            classes: (R,) in [0, C); may be left out, and is ignored, if C = 1.

        Raises:
            ValueError: C > 1 and no classes are given, or a box has no area.
        """
        if len(src_boxes) == 0:
            return
        for boxes in (src_boxes, gt_boxes):
            bad = ~(boxes[:, 2:] > boxes[:, :2]).all(dim=1)
            if bad.any():
                raise ValueError(f"a box has no area, so there is no regression target: {boxes[bad][0].tolist()}")
        deltas = self._transform.get_deltas(src_boxes.double(), gt_boxes.double()).cpu()
        if self.num_classes == 1:
            rows = torch.zeros(len(deltas), dtype=torch.int64)
        elif classes is None:
            raise ValueError(f"box regression statistics of {self.num_classes} classes: update needs the classes")
        else:
            rows = classes.cpu()
        self._count.index_add_(0, rows, torch.ones(len(deltas), 1, dtype=torch.float64))
        self._sum.index_add_(0, rows, deltas)
        self._sum_of_squares.index_add_(0, rows, deltas * deltas)

    def finish(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """Mean and population standard deviation, each (C, 4) float32.

        A class without samples has mean 0 and std 1; a std is at least ``MINIMAL_DEVIATION``.
        """
        seen = self._count > 0
        count = self._count.clamp(min=1)
        mean = self._sum / count
        if self.add_mirror_images:
            mean[:, 0] = 0  # a sample and its mirror image cancel
        std = (self._sum_of_squares / count - mean * mean).clamp(min=0).sqrt().clamp(min=MINIMAL_DEVIATION)
        std = torch.where(seen, std, torch.ones_like(std))
        return mean.float(), std.float()
