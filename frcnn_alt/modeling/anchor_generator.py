"""The paper's anchors, exactly: rounded as the original programs round them (SPEC 3.1).

detectron2's ``DefaultAnchorGenerator`` makes 181.02 x 90.51 where the original programs make 184 x 96, because they
round the sides of the three aspect ratios for an area of 16 x 16 first and then multiply by the scale. With an IoU of
0.93 between the two, another anchor would be labelled positive now and then.

Shape letters: A anchors per cell, L levels, Hi x Wi cells of level i, B = 4.
"""

import math
from typing import List, Sequence

import torch
from detectron2.config import configurable
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY, BufferList, DefaultAnchorGenerator

__all__ = ["BASE_SIZE", "FasterRCNNAnchorGenerator"]

# Side in pixels of the square whose area the aspect ratios are rounded for; the originals' base size.
BASE_SIZE = 16


def _round_half_up(value: float) -> int:
    # MATLAB's round for positive numbers; numpy's rounds half to even. The paper's only half, 11.5, is 12 for both.
    return math.floor(value + 0.5)


@ANCHOR_GENERATOR_REGISTRY.register()
class FasterRCNNAnchorGenerator(DefaultAnchorGenerator):
    """Anchors with the original programs' rounding, in detectron2's continuous coordinates (SPEC 3.1, paper 3.1.1).

    The order of the A anchors of a cell is aspect ratio outer, size inner; over the map it is row-major cells, anchor
    fastest, so level i gives Hi * Wi * A boxes. The cell in row r, column c has its centre at
    ((c + 0.5) * stride, (r + 0.5) * stride) pixels of the network's input. Nothing depends on the network's true
    receptive field, whose centre lies elsewhere for ZF (SPEC 1.4).

    The rounding is always done for 16 x 16 pixels, whatever the stride, so that an aspect ratio means the same shape on
    every level of a feature pyramid. A size need not be a multiple of 16: the scale is size / 16, not rounded, so
    size 100 with aspect ratio 0.5 gives 143.75 x 75.
    """

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
        offset: float = 0.0,
    ):
        """
        Args:
            sizes: square roots of the anchor areas before rounding, in pixels of the network's input; one list for
                each of L levels, or one for all (``MODEL.ANCHOR_GENERATOR.SIZES``). The paper's are 128, 256, 512.
            aspect_ratios: height / width, in the same way (``MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS``).
            strides: pixels between cells, for each of L levels.
            offset: must be 0 (``MODEL.ANCHOR_GENERATOR.OFFSET``), because the half cell by which the first centre lies
                inside the image belongs to the cell anchors already.

        Raises:
            ValueError: `offset` is not 0, or a size or aspect ratio gives no box.
        """
        if offset != 0:
            raise ValueError(
                f"MODEL.ANCHOR_GENERATOR.OFFSET is {offset}, but FasterRCNNAnchorGenerator needs 0: its cell anchors "
                "are already centred half a stride inside the image, an offset would move them twice."
            )
        super().__init__(sizes=sizes, aspect_ratios=aspect_ratios, strides=strides, offset=0.0)

    def _calculate_anchors(self, sizes: List[Sequence[float]], aspect_ratios: List[Sequence[float]]) -> BufferList:
        return BufferList(
            [self.generate_cell_anchors(s, a, stride) for s, a, stride in zip(sizes, aspect_ratios, self.strides)]
        )

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        stride: int = 16,
    ) -> torch.Tensor:
        """Return the anchors of cell (0, 0), a float32 tensor of shape (A, 4), continuous XYXY pixels (SPEC 3.1)."""
        centre = stride / 2
        anchors = []
        for aspect_ratio in aspect_ratios:
            if aspect_ratio <= 0:
                raise ValueError(f"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS has {aspect_ratio}; it must be above 0.")
            base_width = _round_half_up(math.sqrt(BASE_SIZE * BASE_SIZE / aspect_ratio))
            base_height = _round_half_up(base_width * aspect_ratio)
            if base_width < 1 or base_height < 1:
                raise ValueError(
                    f"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS has {aspect_ratio}, which rounds to {base_width} x "
                    f"{base_height} pixels for a {BASE_SIZE} x {BASE_SIZE} anchor; choose one nearer to 1."
                )
            for size in sizes:
                if size <= 0:
                    raise ValueError(f"MODEL.ANCHOR_GENERATOR.SIZES has {size}; it must be above 0.")
                half_width = base_width * size / BASE_SIZE / 2
                half_height = base_height * size / BASE_SIZE / 2
                anchors.append([centre - half_width, centre - half_height, centre + half_width, centre + half_height])
        return torch.tensor(anchors, dtype=torch.float32)
