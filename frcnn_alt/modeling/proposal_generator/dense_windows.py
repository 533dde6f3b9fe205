"""All sliding windows of an image in place of proposals: the one-stage detector of paper section 4.1, Table 10.

The paper compares with a detector of the kind of OverFeat: a Fast R-CNN is trained and tested on windows of three
scales and three aspect ratios at every position of the feature map, "about 20000" an image. Stride, what happens at the
borders and whether windows are chosen before are not stated (SPEC 8.8). Here the windows are the anchors: one of each
size and ratio every 16 pixels, clipped to the image, all of them. That gives 21546 for 600 x 1000 pixels, while the
8151 that lie inside such an image would be too few for the paper's number.

Shape letters: N images, L levels, A windows per cell, Hi x Wi cells of level i, R windows of an image, B = 4.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import build_anchor_generator
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from .image_facts import current_image_facts, original_size
from .selection import clip_and_filter

__all__ = ["DenseWindows"]


@PROPOSAL_GENERATOR_REGISTRY.register()
class DenseWindows(nn.Module):
    """A proposal generator that proposes every window; it learns nothing and has no losses.

    Which windows an image has follows from its size alone: the grid has ceil(side / stride) cells along each side of
    the image without padding, also where a network's map has one more (ZF-net). Windows that coincide once they are
    clipped are all kept, as are their shares in a training batch.

    Args:
        anchor_generator: its anchors are the windows.
        frame: (shorter side, longest allowed side) of the image that they are laid out in, whatever the size that the
            network sees it at; None is the network's input.
        min_size: shortest allowed side of a clipped window, in pixels of the original image, inclusive.

    Raises:
        ValueError: `frame` is not two positive numbers.
    """

    @configurable
    def __init__(self, *, anchor_generator: nn.Module, frame: Optional[Sequence[int]] = None, min_size: float = 0.0):
        super().__init__()
        if frame is not None and (len(frame) != 2 or min(frame) < 1):
            raise ValueError(
                f"MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME is {tuple(frame)}: it takes the shorter side and the longest "
                "allowed one, such as (600, 1000), or nothing for the network's input as it is."
            )
        self.anchor_generator = anchor_generator
        self.frame = None if frame is None else tuple(frame)
        self.min_size = min_size

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, Any]:
        """The anchors of MODEL.ANCHOR_GENERATOR on MODEL.RPN.IN_FEATURES; MODEL.PROPOSAL_GENERATOR's other keys."""
        shapes = [input_shape[name] for name in cfg.MODEL.RPN.IN_FEATURES]
        return {
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "frame": cfg.MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME or None,
            "min_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
        }

    @torch.no_grad()
    def windows(self, image_size: Tuple[int, int], scale: Tuple[float, float] = (1.0, 1.0)) -> Boxes:
        """Return the R windows of an image, continuous XYXY pixels of the network's input, on this module's device.

        Their order is that of anchors: levels, cells row by row, the windows of a cell.

        Args:
            image_size: (height, width) of the network's input, without padding.
            scale: (vertical, horizontal) network pixels per pixel of the original image.
        """
        size = image_size
        if self.frame is not None:
            size = ResizeShortestEdge.get_output_shape(*original_size(image_size, scale), *self.frame)
        device = next(iter(self.anchor_generator.buffers())).device
        grids = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.anchor_generator.strides]
        # Anchor generators read nothing but the size of a feature map; without channels it takes no memory.
        windows = Boxes.cat(self.anchor_generator([torch.empty((1, 0, *grid), device=device) for grid in grids]))
        windows.scale(image_size[1] / size[1], image_size[0] / size[0])
        return Boxes(clip_and_filter(windows.tensor, image_size, scale, self.min_size)[0])

    def forward(
        self,
        images: ImageList,
        features: Dict[str, torch.Tensor],
        gt_instances: Optional[List[Instances]] = None,
    ) -> Tuple[List[Instances], Dict[str, torch.Tensor]]:
        """Return the windows of N images, as ``proposal_boxes`` with ``objectness_logits`` of 0, and no losses.

        Args:
            images: whose sizes alone are read.
            features: not looked at, and so of any kind.
            gt_instances: not looked at.
        """
        proposals = []
        for image_size, facts in zip(images.image_sizes, current_image_facts(len(images))):
            boxes = self.windows(image_size, facts.scale).to(images.tensor.device)
            logits = boxes.tensor.new_zeros(len(boxes))
            proposals.append(Instances(image_size, proposal_boxes=boxes, objectness_logits=logits))
        return proposals, {}
