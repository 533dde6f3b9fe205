"""Looking at image files without decoding them: are they there, can they be opened, how large are they really."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Sequence, Tuple

from detectron2.utils import comm
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from .problems import IMAGE, Problem

__all__ = ["IMAGE_EXTENSIONS", "check_image_files", "image_files_of", "image_size"]

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_END_OF_FILE = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_SHOW_PROGRESS_FROM = 300  # images; fewer take less than a second


def image_files_of(folder: str) -> List[str]:
    """Return the paths of the image files of a folder, by their extensions, sorted by name."""
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(IMAGE_EXTENSIONS))
    return [os.path.join(folder, name) for name in names]


def image_size(file_name: str) -> Optional[Tuple[int, int]]:
    """Return (width, height) in pixels as detectron2 will read the image (EXIF rotation applied), None if unreadable.

    Only the header is read, unless the file's end is not where it should be: then decoding tells whether it is cut.
    """
    try:
        with Image.open(file_name) as image:
            width, height = image.size
            if "exif" in image.info and image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS:
                width, height = height, width
            marker = _END_OF_FILE.get(image.format)
            if marker is not None and marker not in _tail(file_name):
                image.load()
            return width, height
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _tail(file_name: str, length: int = 4096) -> bytes:
    with open(file_name, "rb") as f:
        f.seek(max(0, os.path.getsize(file_name) - length))
        return f.read()


def check_image_files(dicts: Sequence[Dict[str, Any]], name: str = "", threads: int = 8) -> List[Problem]:
    """Find images that are missing, unreadable, or of another size than their dictionary says.

    Args:
        dicts: detectron2 data set dictionaries; those without width and height are only opened.
        name: of the data set, for the progress bar (shown on the main process, for many images).
        threads: files looked at at once; opening waits for the disk, so more than there are cores is right.
    """
    with ThreadPoolExecutor(threads) as pool:
        found = tqdm(
            pool.map(_check_image_file, dicts, chunksize=64),
            total=len(dicts),
            desc=f"Checking the images of {name}",
            unit="image",
            disable=len(dicts) < _SHOW_PROGRESS_FROM or not comm.is_main_process(),
        )
        return [problem for problem in found if problem is not None]


def _check_image_file(record: Dict[str, Any]) -> Optional[Problem]:
    file_name, image_id = record["file_name"], record["image_id"]
    if not os.path.isfile(file_name):
        return Problem("missing image", file_name, "", IMAGE, image_id)
    size = image_size(file_name)
    if size is None:
        return Problem("unreadable image", file_name, "it is cut off, not an image, or too large", IMAGE, image_id)
    declared = (record.get("width", size[0]), record.get("height", size[1]))
    if size != declared:
        detail = f"the annotation says {declared[0]}x{declared[1]}, the image is {size[0]}x{size[1]}"
        return Problem("size that disagrees with the image", file_name, detail, IMAGE, image_id)
    return None
