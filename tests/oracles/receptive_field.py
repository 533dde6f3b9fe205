"""What a cell of a feature map sees of the image (SPEC 1.4).

Each convolution or pooling of kernel k over cells that lie `step` pixels apart widens the field by (k - 1) * step
pixels and moves its first pixel left by padding * step. Normalisations are left out, as SPEC does.
"""

from typing import Sequence, Tuple


def receptive_field(layers: Sequence[Tuple]) -> Tuple[int, int, float]:
    """(stride in pixels, width of the field in pixels, centre of the field of cell 0 as an inclusive pixel index)."""
    step, width, first = 1, 1, 0
    for _, kind, kernel, stride, padding, *_ in layers:
        if kind in ("conv", "pool"):
            width += (kernel - 1) * step
            first -= padding * step
            step *= stride
    return step, width, first + (width - 1) / 2
