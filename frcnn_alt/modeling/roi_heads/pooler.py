"""RoI max pooling with the corners that its formula was written for; RoI warping in its place.

Shape letters: N images, L levels, R regions over all images, C channels, Hi x Wi cells, P x P bins.
"""

from typing import Any, Sequence, Tuple, Union

import torch
from detectron2.modeling.poolers import ROIPooler
from torch import nn
from torchvision.ops import RoIPool

from .roi_warp import ROIWarp

__all__ = ["FasterRCNNROIPooler", "InclusiveCornerRoIPool"]


def _round_half_away(values: torch.Tensor) -> torch.Tensor:
    """MATLAB's and C's ``round``; ``torch.round`` takes halves to the even side."""
    whole = values.trunc()
    return whole + (values - whole).abs().ge(0.5) * values.sign()


class InclusiveCornerRoIPool(RoIPool):
    """torchvision's ``RoIPool`` for boxes with continuous corners.

    The original formula takes the last pixel that belongs to a box (inclusive corners): cells round(x1 / 16) to
    round(x2 / 16). detectron2's x2 is one more, so every sixteenth box would reach a cell further; hence 1 is taken
    off x2 and y2 (SPEC 5.1, "+1 trap").

    Args:
        output_size: P, or (P, P).
        spatial_scale: 1 / stride.
        round_corners: round the inclusive corners to whole network pixels before they are divided by the stride, as
            the MATLAB release does. A corner between 7.5 and 8 then counts as 8, which is in the next cell.
    """

    def __init__(self, output_size: Union[int, Tuple[int, int]], spatial_scale: float, round_corners: bool = False):
        super().__init__(output_size, spatial_scale)
        self.round_corners = round_corners

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Pool (N, C, Hi, Wi) over (R, 5) rows of image index, x1, y1, x2, y2 in network pixels to (R, C, P, P)."""
        # The kernel wants one type for both, and half precision cannot hold coordinates; a maximum loses nothing.
        common = torch.promote_types(input.dtype, rois.dtype)
        corners = rois.to(common) - rois.new_tensor([0.0, 0.0, 0.0, 1.0, 1.0], dtype=common)
        if self.round_corners:
            corners = _round_half_away(corners)
        return super().forward(input.to(common), corners).to(input.dtype)


class FasterRCNNROIPooler(ROIPooler):
    """detectron2's ``ROIPooler`` with the corners of the original programs.

    Args:
        output_size: P, or (P, P).
        scales: 1 / stride of each of the L feature maps.
        sampling_ratio: of RoIAlign; RoIPool has none.
        pooler_type: "ROIPool" in the paper; any type of ``ROIPooler`` if `inclusive_corners` is off; or "ROIWarp",
            which gives the boxes a gradient.
        inclusive_corners: take 1 off x2 and y2 before pooling; off is detectron2's own behaviour.
        round_corners: round the inclusive corners to whole network pixels, halves away from zero (MATLAB).

    Raises:
        ValueError: inclusive or rounded corners with another type of pooling, which interpolates between continuous
            corners; rounded corners that are not inclusive, which neither original program has.
    """

    def __init__(
        self,
        output_size: Union[int, Tuple[int, int]],
        scales: Sequence[float],
        sampling_ratio: int = 0,
        pooler_type: str = "ROIPool",
        *,
        inclusive_corners: bool = True,
        round_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        is_warp = pooler_type == "ROIWarp"  # unknown to the stock class, whose choice of levels it shares
        super().__init__(output_size, scales, sampling_ratio, "ROIPool" if is_warp else pooler_type, **kwargs)
        for key, switched_on in (("INCLUSIVE", inclusive_corners), ("ROUND", round_corners)):
            if switched_on and pooler_type != "ROIPool":
                raise ValueError(
                    f"MODEL.ROI_BOX_HEAD.POOLER_TYPE is {pooler_type}, but POOLER_{key}_CORNERS is for ROIPool "
                    "only: set the one to ROIPool or the other to False"
                )
        if round_corners and not inclusive_corners:
            raise ValueError(
                "MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS rounds inclusive corners, but POOLER_INCLUSIVE_CORNERS is "
                "False: set both to True or both to False"
            )
        if inclusive_corners:
            # Below the choice of the level, which needs the true areas.
            self.level_poolers = nn.ModuleList(
                InclusiveCornerRoIPool(self.output_size, scale, round_corners) for scale in scales
            )
        elif is_warp:
            self.level_poolers = nn.ModuleList(ROIWarp(self.output_size, scale) for scale in scales)
