"""The paper's two-class softmax head of the region proposal network, in a form that detectron2's RPN can use.

The paper (3.1.3) classifies each anchor by a softmax over background and object. Of the two logits only the difference
matters: softmax([b, f])[object] = sigmoid(f - b). So the head keeps both in its weights, whose learning they change
(two vectors are trained and decayed, SPEC 4.1), and gives f - b to the outside, where binary cross entropy on it *is*
the two-class softmax loss.

Shape letters: N images, L levels, A anchors per cell, C channels, Hi x Wi cells of level i, B = 4.
"""

from typing import List, Sequence, Tuple

import torch
from detectron2.config import configurable
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY, StandardRPNHead
from torch import nn

__all__ = ["SoftmaxRPNHead"]


@RPN_HEAD_REGISTRY.register()
class SoftmaxRPNHead(StandardRPNHead):
    """3x3 convolution with ReLU, then two 1x1 convolutions: 2A class logits and 4A box deltas (SPEC 4.1).

    The parameters are called ``conv``, ``objectness_logits`` and ``anchor_deltas`` as in ``StandardRPNHead``. The first
    A channels of ``objectness_logits`` are the background logits of the A anchors of a cell, the last A the object
    logits, which is the layout of the released Caffe models. All weights start from N(0, 0.01), all biases at 0.
    """

    @configurable
    def __init__(self, *, in_channels: int, num_anchors: int, box_dim: int = 4, conv_dims: Sequence[int] = (-1,)):
        """
        Args:
            in_channels: C of every input feature map.
            num_anchors: A.
            box_dim: B.
            conv_dims: output channels of the 3x3 convolutions; -1 keeps C (256 for ZF, 512 for VGG-16).
        """
        super().__init__(in_channels=in_channels, num_anchors=num_anchors, box_dim=box_dim, conv_dims=conv_dims)
        self.objectness_logits = nn.Conv2d(self.objectness_logits.in_channels, 2 * num_anchors, kernel_size=1)
        nn.init.normal_(self.objectness_logits.weight, std=0.01)
        nn.init.zeros_(self.objectness_logits.bias)

    def forward(self, features: List[torch.Tensor]) -> Tuple[List[torch.Tensor], List[torch.Tensor]]:
        """
        Args:
            features: L maps of shape (N, C, Hi, Wi).

        Returns:
            L object-minus-background logits of shape (N, A, Hi, Wi), whose sigmoid is the softmax probability of
            "object", and L box deltas of shape (N, 4A, Hi, Wi).
        """
        class_logits, anchor_deltas = super().forward(features)
        objectness = []
        for logits in class_logits:
            background, foreground = logits.chunk(2, dim=1)
            objectness.append(foreground - background)
        return objectness, anchor_deltas
