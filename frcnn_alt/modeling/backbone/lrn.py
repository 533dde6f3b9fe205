"""Local response normalisation over the neighbours of a cell in the same channel, as ZF-net has it.

Shape letters: N images, C channels, Hi x Wi cells.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..precision import at_least_single

__all__ = ["SpatialLocalResponseNorm"]


class SpatialLocalResponseNorm(nn.Module):
    """Caffe's LRN with ``norm_region: WITHIN_CHANNEL``: y = x * (1 + alpha * m) ** -beta.

    m is the mean of x^2 over a `size` x `size` window of the same channel; zeros outside the map count in the divisor,
    so it is always size^2. ``torch.nn.LocalResponseNorm`` is another thing: it sums across channels (SPEC 1.1).

    Args:
        size: side of the window in cells, odd.
        alpha: factor of the mean of squares.
        beta: exponent.

    Raises:
        ValueError: `size` is even, so that the window has no centre.
    """

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"SpatialLocalResponseNorm: size must be odd and positive, got {size}")
        self.size = size
        self.alpha = alpha
        self.beta = beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise a map of shape (N, C, Hi, Wi); the shape and the type are kept."""
        # Activations beyond 255 would overflow when squared in half precision.
        wide = at_least_single(x)
        mean_of_squares = F.avg_pool2d(wide * wide, self.size, stride=1, padding=self.size // 2, count_include_pad=True)
        return (wide * (1.0 + self.alpha * mean_of_squares).pow(-self.beta)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}"
