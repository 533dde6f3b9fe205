"""Pooling each region from the size of the image at which it is nearest to 224 x 224 pixels (SPEC 10.3).

Shape letters: N images, S sizes, R regions over all images, Ri regions of image i, C channels, P x P bins.
"""

from typing import Any, List, Sequence, Tuple, Union

import torch
from detectron2.structures import Boxes

from ..image_pyramid import FeaturePyramid
from .pooler import FasterRCNNROIPooler

__all__ = ["PyramidROIPooler", "nearest_sizes"]


def nearest_sizes(
    boxes: torch.Tensor, scales: Sequence[Tuple[float, float]], canonical_box_size: float
) -> torch.Tensor:
    """Return the number of the size at which each box of an image has an area nearest to `canonical_box_size` squared.

    Args:
        boxes: (Ri, 4) XYXY, continuous pixels of the network's input.
        scales: S (horizontal, vertical): pixels at this size per pixel of the network's input.
        canonical_box_size: side of the wanted square, in pixels.

    Returns:
        int64 (Ri,), the first of sizes that are equally near.
    """
    factors = boxes.new_tensor([horizontal * vertical for horizontal, vertical in scales])
    areas = Boxes(boxes).area()[None] * factors[:, None]
    return (areas - canonical_box_size**2).abs().argmin(dim=0)


class PyramidROIPooler(FasterRCNNROIPooler):
    """``FasterRCNNROIPooler`` for one feature of the image at several sizes, each region from one of them.

    Corners become pixels of the chosen size first. That the last pixel is taken (inclusive corners) and that corners
    are rounded to whole pixels holds there, as if the image had that size alone.

    Args:
        kwargs: of ``FasterRCNNROIPooler``, with one scale. `canonical_box_size` is that of ``nearest_sizes``.

    Raises:
        ValueError: features of several strides; theirs would be a second choice of a level.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if len(self.level_poolers) != 1:
            raise ValueError(
                f"MODEL.PYRAMID.SIZES_TEST is for one feature, but MODEL.ROI_HEADS.IN_FEATURES are "
                f"{len(self.level_poolers)}: set SIZES_TEST to ()."
            )

    def forward(self, x: List[Union[torch.Tensor, FeaturePyramid]], box_lists: List[Boxes]) -> torch.Tensor:
        """Pool R regions of N images, continuous corners in pixels of the network's input, to (R, C, P, P).

        Args:
            x: one feature: a pyramid, or as in training the map (N, C, Hi, Wi) of the network's input.
            box_lists: N sets of Ri regions.
        """
        (feature,) = x
        if isinstance(feature, torch.Tensor):
            return super().forward(x, box_lists)
        of_image = [
            nearest_sizes(boxes.tensor, [scales[n] for scales in feature.scales], self.canonical_box_size)
            for n, boxes in enumerate(box_lists)
        ]
        chosen = torch.cat(of_image)
        pooled, rows = [], []
        for s, (level, scales) in enumerate(zip(feature.levels, feature.scales)):
            boxes_at_size = []
            for boxes, sizes, scale in zip(box_lists, of_image, scales):
                boxes_at_size.append(boxes[sizes == s])  # a copy
                boxes_at_size[-1].scale(*scale)
            pooled.append(super().forward([level], boxes_at_size))
            rows.append((chosen == s).nonzero().flatten())
        return torch.cat(pooled)[torch.cat(rows).argsort()]
