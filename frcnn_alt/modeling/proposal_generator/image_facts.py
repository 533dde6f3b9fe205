"""What the meta architecture knows of the images of the batch in progress, and the selection of proposals needs.

A context variable carries it, because detectron2's meta architectures pass their proposal generator neither the
inputs nor a place to put anything. It ends with the ``with`` block, also when an error leaves it, and each thread has
its own, so nothing is left for the next call.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

__all__ = ["ImageFacts", "current_image_facts", "image_facts", "original_size"]


@dataclass(frozen=True)
class ImageFacts:
    """Of one image.

    Attributes:
        scale: (vertical, horizontal) network pixels per pixel of the original image.
        name: which image it is, the same in every program that shows it; "" where that is not known.
    """

    scale: Tuple[float, float] = (1.0, 1.0)
    name: str = ""

    @classmethod
    def of_input(cls, one: Dict[str, Any]) -> "ImageFacts":
        """Read them off what detectron2's dataset mappers make of an image.

        Args:
            one: "image" (C, H, W) is the network's input; "height" and "width" are the original image's, else it counts
                as not resized; "image_id" names it, else "file_name".
        """
        height, width = one["image"].shape[-2:]
        scale = (height / one.get("height", height), width / one.get("width", width))
        return cls(scale, str(one.get("image_id", one.get("file_name", ""))))


# One for each image; None outside of our meta architectures.
_facts: ContextVar[Optional[List[ImageFacts]]] = ContextVar("frcnn_alt_image_facts", default=None)


@contextmanager
def image_facts(batched_inputs: List[Dict[str, Any]]) -> Iterator[None]:
    """Make the facts of `batched_inputs`, as detectron2's dataset mappers make them, known while the block runs."""
    token = _facts.set([ImageFacts.of_input(one) for one in batched_inputs])
    try:
        yield
    finally:
        _facts.reset(token)


def current_image_facts(num_images: int) -> List[ImageFacts]:
    """Return the facts of each image of the batch in progress; of images that nobody told of, not resized, no name.

    Raises:
        ValueError: what was told is about another number of images.
    """
    facts = _facts.get()
    if facts is None:
        return [ImageFacts()] * num_images
    if len(facts) != num_images:
        raise ValueError(
            f"The meta architecture was given {len(facts)} images, but its proposal generator is asked for the "
            f"proposals of {num_images}."
        )
    return facts


def original_size(image_size: Tuple[int, int], scale: Tuple[float, float]) -> Tuple[int, int]:
    """Return the (height, width) of the original of an image of `image_size`, resized by `scale`, both so too."""
    return round(image_size[0] / scale[0]), round(image_size[1] / scale[1])
