"""Dropout as it was before "inverted" dropout: nothing is rescaled in training, everything is at test."""

import torch
from torch import nn

__all__ = ["NonInvertedDropout"]


class NonInvertedDropout(nn.Dropout):
    """Dropout whose training output is the masked input, and whose test output is the input times (1 - p).

    ZF-net's fc6 and fc7 were trained so (Caffe's ``scale_train: false``); ``nn.Dropout`` would feed fc7 twice the
    activations that its pre-trained weights expect, in training and at test (SPEC 1.1).

    Args:
        p: probability of an element to be zeroed.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Any shape in, the same shape out."""
        # The inverted form is 1 / (1 - p) too large in training and at test alike.
        return super().forward(input) * (1.0 - self.p)
