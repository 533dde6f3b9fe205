"""RoI warping: pooling whose output has a derivative with respect to the corners of the boxes (MNC, SPEC 7.2).

RoI max pooling rounds the corners, and torchvision's RoIAlign gives boxes no gradient; non-approximate joint training
(paper 3.2, iii) needs one. So each box is sampled bilinearly on a fixed grid of 2P x 2P places, and each 2 x 2 of them
become one bin by their maximum: 14 x 14 -> 7 x 7 with VGG-16, 12 x 12 -> 6 x 6 with ZF-net.

Where the places lie. The frame is that of this package's RoI max pooling with inclusive corners: pixel p, counted
from 0, has the feature coordinate p / stride, and cell i holds the value at feature coordinate i. The middle of a pixel
is half a pixel right of its left edge, so the continuous coordinate c (detectron2's) is (c - 0.5) / stride. Cell i thus
stands for pixel 16 i: the centre of its receptive field in ZF-net, while VGG-16's lie 7.5 pixels further on; the
original programs pool so with both networks.

Along a side from x1 to x2, place b of n is the middle of its share of the side, x1 + (b + 0.5) * (x2 - x1) / n, so that
a mirrored box of a mirrored map gives mirrored features. MNC's layer differs: it samples the beginning of each share (b
in place of b + 0.5, which is 1 / 28 of the side further left with VGG-16), takes a maximum over more places where a box
is large, and rounds the corners to whole cells before all this, with a gradient as if it did not. Beyond the middle of
the map's outermost cells their value is kept, and the derivative there is 0.

Shape letters: N images, R regions over all images, Ri regions of image i, C channels, Hi x Wi cells, P x P bins.
"""

from typing import Tuple, Union

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["ROIWarp"]

SAMPLES_PER_BIN = 2  # along each side


class ROIWarp(nn.Module):
    """Bilinear sampling of boxes and 2 x 2 max pooling, differentiable in features and corners (SPEC 7.2).

    What is kept for the backward pass does not grow with (regions x cells): all regions of an image are sampled in one
    call, from one map.

    Args:
        output_size: P, or (P, P) as (height, width).
        spatial_scale: 1 / stride.
    """

    def __init__(self, output_size: Union[int, Tuple[int, int]], spatial_scale: float):
        super().__init__()
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        self.spatial_scale = spatial_scale

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Pool (N, C, Hi, Wi) over R regions.

        Args:
            rois: (R, 5) rows of image index, x1, y1, x2, y2, the corners continuous and in network pixels.

        Returns:
            (R, C, P, P) in the type of `input`.
        """
        # Half precision cannot hold coordinates, and sampling wants one type for both.
        common = torch.promote_types(torch.promote_types(input.dtype, rois.dtype), torch.float32)
        images, corners = rois[:, 0].detach(), rois[:, 1:].to(common)
        # No region, but part of the graph: a batch without regions still has a gradient, of zeros.
        pooled, rows = [input[:0, :, :1, :1].expand(-1, -1, *self.output_size)], [images[:0].long()]
        for n in images.unique().long().tolist():
            rows.append((images == n).nonzero().flatten())
            pooled.append(self._pool(input[n : n + 1].to(common), corners[rows[-1]]).to(input.dtype))
        return torch.cat(pooled)[torch.cat(rows).argsort()]

    def _pool(self, feature: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
        """Pool one map (1, C, Hi, Wi) over its Ri boxes (Ri, 4) to (Ri, C, P, P)."""
        _, channels, height, width = feature.shape
        bins_down, bins_across = self.output_size
        x1, y1, x2, y2 = corners.unbind(dim=1)
        across = self._places(x1, x2, SAMPLES_PER_BIN * bins_across, width)
        down = self._places(y1, y2, SAMPLES_PER_BIN * bins_down, height)
        shape = (len(corners), down.shape[1], across.shape[1])
        grid = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=3)
        # One below the other in one grid, as if it were one large region: no copy of the map for each.
        stacked = F.grid_sample(
            feature, grid.flatten(0, 1)[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        # Regions are a multiple of 2 places high, so no bin reaches into the next region.
        highest = F.max_pool2d(stacked, SAMPLES_PER_BIN)
        return highest.view(channels, len(corners), bins_down, bins_across).transpose(0, 1)

    def _places(self, start: torch.Tensor, end: torch.Tensor, count: int, cells: int) -> torch.Tensor:
        """Where sides from `start` to `end`, each (Ri,), are sampled: (Ri, count), -1 to 1 across the whole map."""
        share = (torch.arange(count, dtype=start.dtype, device=start.device) + 0.5) / count
        places = start[:, None] + share * (end - start)[:, None]
        cell = (places - 0.5) * self.spatial_scale
        return (2 * cell + 1) / cells - 1

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"
