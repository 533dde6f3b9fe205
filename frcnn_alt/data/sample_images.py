"""Images without a data set, as detectron2 dictionaries: those of a folder, or noise made on the spot.

For what asks only for images, such as timing. Shape letters: R regions of an image.
"""

import os
from typing import Any, Dict, List

import numpy as np
from detectron2.structures import BoxMode
from PIL import Image

from .images import IMAGE_EXTENSIONS, ImageFacts, absence, image_facts, image_files_of
from .problems import DatasetError

__all__ = ["add_random_regions", "read_image_folder", "write_noise_images"]


def read_image_folder(folder: str, limit: int) -> List[Dict[str, Any]]:
    """Return the first `limit` images of a folder, sorted by name: file_name, image_id, height, width.

    Raises:
        DatasetError: there is no such folder, no image in it, or an image cannot be read.
    """
    if not os.path.isdir(folder):
        raise DatasetError(f"{folder} is not a folder of images.")
    files = image_files_of(folder)
    if not files:
        raise DatasetError(f"{folder}: no image found; looked for {' '.join(IMAGE_EXTENSIONS)}.")
    return [_record(file) for file in files[:limit]]


def _record(path: str) -> Dict[str, Any]:
    missing = absence(path)
    facts = image_facts(path) if missing is None else ImageFacts(problem=missing or "it is not there any more")
    if facts.size is None:
        raise DatasetError(f"{path} cannot be read as an image: {facts.problem}.")
    width, height = facts.size
    return {"file_name": path, "image_id": os.path.basename(path), "height": height, "width": width}


def write_noise_images(folder: str, height: int, width: int, number: int) -> List[Dict[str, Any]]:
    """Write `number` JPEG files of soft coloured noise into `folder`; returns them like `read_image_folder`.

    Args:
        folder: exists.
        height: in pixels.
        width: in pixels.
        number: of images, the same ones every time.
    """
    rng = np.random.default_rng(0)
    cells = (max(height // 8, 1), max(width // 8, 1), 3)  # soft, so that decoding takes as long as of a photograph
    for index in range(number):
        noise = Image.fromarray(rng.integers(0, 256, cells, dtype=np.uint8))
        noise.resize((width, height), Image.BICUBIC).save(os.path.join(folder, f"{index:05d}.jpg"), quality=92)
    return read_image_folder(folder, number)


def add_random_regions(records: List[Dict[str, Any]], regions: int) -> List[Dict[str, Any]]:
    """Return `records` with `regions` random boxes each as stored proposals, in the form of detectron2's own files.

    Widths and heights are uniform from 16 pixels to the image's, places uniform in the image; scores fall from the
    first to the last.
    """
    rng = np.random.default_rng(0)
    return [{**record, **_random_regions(record, regions, rng)} for record in records]


def _random_regions(record: Dict[str, Any], regions: int, rng: np.random.Generator) -> Dict[str, Any]:
    image = np.array([record["width"], record["height"]], np.float32)
    least = np.minimum(16, image)
    sizes = least + rng.random((regions, 2), dtype=np.float32) * (image - least)
    top_left = rng.random((regions, 2), dtype=np.float32) * (image - sizes)
    bottom_right = np.minimum(top_left + sizes, image)  # it may be larger by rounding
    return {
        "proposal_boxes": np.concatenate([top_left, bottom_right], axis=1),  # (R, 4)
        "proposal_objectness_logits": np.linspace(1, 0, regions, dtype=np.float32),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
    }
