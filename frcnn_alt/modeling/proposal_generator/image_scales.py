"""How much each image of the batch in progress was enlarged: known to the meta architecture, needed by the selection.

A context variable carries it, because detectron2's meta architectures pass their proposal generator neither the
inputs nor a place to put anything. It ends with the ``with`` block, also when an error leaves it, and each thread has
its own, so nothing is left for the next call.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Dict, Iterator, List, Optional, Tuple

__all__ = ["current_image_scales", "image_scales"]

# One (vertical, horizontal) scale for each image; None outside of our meta architectures.
_scales: ContextVar[Optional[List[Tuple[float, float]]]] = ContextVar("frcnn_alt_image_scales", default=None)


@contextmanager
def image_scales(batched_inputs: List[Dict[str, Any]]) -> Iterator[None]:
    """Make the scales of `batched_inputs` known while the block runs.

    Args:
        batched_inputs: what detectron2's dataset mappers make: "image" (C, H, W) is the network's input, "height" and
            "width" are the original image's; the scale is network pixels per original pixel, 1 where these are absent.
    """
    scales = []
    for one in batched_inputs:
        height, width = one["image"].shape[-2:]
        scales.append((height / one.get("height", height), width / one.get("width", width)))
    token = _scales.set(scales)
    try:
        yield
    finally:
        _scales.reset(token)


def current_image_scales(num_images: int) -> List[Tuple[float, float]]:
    """Return the (vertical, horizontal) scale of each image of the batch in progress, 1 if nobody told.

    Raises:
        ValueError: what was told is about another number of images.
    """
    scales = _scales.get()
    if scales is None:
        return [(1.0, 1.0)] * num_images
    if len(scales) != num_images:
        raise ValueError(
            f"The meta architecture was given {len(scales)} images, but its proposal generator is asked for the "
            f"proposals of {num_images}."
        )
    return scales
