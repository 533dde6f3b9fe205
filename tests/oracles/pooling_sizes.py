"""Output sizes of Caffe's convolutions and poolings (SPEC 1.3).

A convolution rounds down. A pooling rounds up, and gives back its last cell where padding alone made room for it: a
window may not begin beyond the last padded-in pixel, n + p - 1.
"""

from typing import Dict, Sequence, Tuple


def conv_size(n: int, kernel: int, stride: int, padding: int) -> int:
    """Cells of a convolution over `n` pixels."""
    return (n + 2 * padding - kernel) // stride + 1


def pool_size(n: int, kernel: int, stride: int, padding: int) -> int:
    """Cells of a pooling over `n` pixels."""
    cells = 1
    while (cells - 1) * stride + kernel < n + 2 * padding:  # the last window does not reach the end yet
        cells += 1
    if padding > 0 and (cells - 1) * stride > n + padding - 1:
        cells -= 1
    return cells


def sizes_after(layers: Sequence[Tuple], n: int) -> Dict[str, int]:
    """Cells after each convolution and pooling of a chain over `n` pixels; layers as in ``network_layers``."""
    sizes = {}
    for name, kind, kernel, stride, padding, *_ in layers:
        if kind in ("conv", "pool"):
            n = {"conv": conv_size, "pool": pool_size}[kind](n, kernel, stride, padding)
            sizes[name] = n
    return sizes
