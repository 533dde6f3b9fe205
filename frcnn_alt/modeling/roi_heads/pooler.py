"""RoI max pooling with the corners that its formula was written for.

Shape letters: N images, L levels, R regions over all images, C channels, Hi x Wi cells, P x P bins.
"""

from typing import Sequence, Tuple, Union

import torch
from detectron2.modeling.poolers import ROIPooler
from torch import nn
from torchvision.ops import RoIPool

__all__ = ["FasterRCNNROIPooler", "InclusiveCornerRoIPool"]


class InclusiveCornerRoIPool(RoIPool):
    """torchvision's ``RoIPool`` for boxes with continuous corners.

    The original formula takes the last pixel that belongs to a box (inclusive corners): cells round(x1 / 16) to
    round(x2 / 16). detectron2's x2 is one more, so every sixteenth box would reach a cell further; hence 1 is taken
    off x2 and y2 (SPEC 5.1, "+1 trap"). The rounding of box corners to whole pixels, which the MATLAB release does
    before, is left out.
    """

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Pool (N, C, Hi, Wi) over (R, 5) rows of image index, x1, y1, x2, y2 in network pixels to (R, C, P, P)."""
        # The kernel wants one type for both, and half precision cannot hold coordinates; a maximum loses nothing.
        common = torch.promote_types(input.dtype, rois.dtype)
        corners = rois.to(common) - rois.new_tensor([0.0, 0.0, 0.0, 1.0, 1.0], dtype=common)
        return super().forward(input.to(common), corners).to(input.dtype)


class FasterRCNNROIPooler(ROIPooler):
    """detectron2's ``ROIPooler`` with a switch for inclusive corners.

    Args:
        output_size: P, or (P, P).
        scales: 1 / stride of each of the L feature maps.
        sampling_ratio: of RoIAlign; RoIPool has none.
        pooler_type: "ROIPool" in the paper; any type of ``ROIPooler`` if `inclusive_corners` is off.
        inclusive_corners: take 1 off x2 and y2 before pooling (MATLAB); off is detectron2's own behaviour, near to
            what py-faster-rcnn does with RPN boxes.

    Raises:
        ValueError: inclusive corners with another type of pooling, which interpolates between continuous corners.
    """

    def __init__(
        self,
        output_size: Union[int, Tuple[int, int]],
        scales: Sequence[float],
        sampling_ratio: int = 0,
        pooler_type: str = "ROIPool",
        *,
        inclusive_corners: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(output_size, scales, sampling_ratio, pooler_type, **kwargs)
        if inclusive_corners:
            if pooler_type != "ROIPool":
                raise ValueError(
                    f"MODEL.ROI_BOX_HEAD.POOLER_TYPE is {pooler_type}, but POOLER_INCLUSIVE_CORNERS is for ROIPool "
                    "only: set the one to ROIPool or the other to False"
                )
            # Below the choice of the level, which needs the true areas.
            self.level_poolers = nn.ModuleList(InclusiveCornerRoIPool(self.output_size, scale) for scale in scales)
