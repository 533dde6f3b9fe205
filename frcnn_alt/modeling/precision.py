"""Single precision where half is not enough: losses, boxes, squares of activations (detectron2's SOLVER.AMP)."""

import torch

__all__ = ["at_least_single"]


def at_least_single(values: torch.Tensor) -> torch.Tensor:
    """`values` in single precision if they are in half (float16, bfloat16); others, double ones too, as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
