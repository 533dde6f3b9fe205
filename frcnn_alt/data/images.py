"""Looking at image files without decoding them: are they there, can they be opened, how large are they really."""

import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from detectron2.utils import comm
from detectron2.utils.logger import log_first_n
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from .problems import IMAGE, Problem

__all__ = ["IMAGE_EXTENSIONS", "MISSING_IMAGE", "UNREADABLE_IMAGE", "ImageFacts", "absence", "check_image_files"]
__all__ += ["image_facts", "image_files_of", "image_size"]

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

MISSING_IMAGE, UNREADABLE_IMAGE = "missing image", "unreadable image"  # kinds of problems
UNSUITABLE_IMAGE = "image that would be read wrongly"

_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_MAY_TELL_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # keys of Pillow's image.info
_END_OF_FILE = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_SHOW_PROGRESS_FROM = 300  # images; fewer take less than a second
# Pillow clips these to 8 bits when it makes RGB of them: all that is above 255 becomes white.
_WIDE_MODES = ("I", "F")
_TURNED_TWICE = (
    "it is a TIFF with an orientation, which today's Pillow and detectron2 both apply: save it turned, without one"
)


class ImageFacts(NamedTuple):
    """What the header of an image file tells.

    Attributes:
        size: (width, height) in pixels as detectron2 will read the image (EXIF rotation applied), None if it cannot.
        orientation: EXIF's, 1 to 8; 1 is as the pixels lie, and where nothing is said.
        problem: why it cannot be used, a clause that begins with "it"; "" if it can.
        kind: of that problem.
    """

    size: Optional[Tuple[int, int]] = None
    orientation: int = 1
    problem: str = ""
    kind: str = UNREADABLE_IMAGE


def image_files_of(folder: str) -> List[str]:
    """Return the paths of the image files of a folder, by their extensions, sorted by name."""
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(IMAGE_EXTENSIONS))
    return [os.path.join(folder, name) for name in names]


def image_size(file_name: str) -> Optional[Tuple[int, int]]:
    """Return (width, height) in pixels as detectron2 will read the image (EXIF rotation applied), None if unreadable.

    Only the header is read, unless the file's end is not where it should be: then decoding tells whether it is cut.
    """
    return image_facts(file_name).size


def absence(file_name: str) -> Optional[str]:
    """Say why there is no file of this name, None if there is one."""
    try:
        mode = os.stat(file_name).st_mode
    except (OSError, ValueError):  # the latter: a null character in the name
        is_link = "\0" not in file_name and os.path.islink(file_name)
        return "a symbolic link that leads nowhere, or in a circle" if is_link else ""
    return "it is a folder" if stat.S_ISDIR(mode) else None if stat.S_ISREG(mode) else "it is no regular file"


def image_facts(file_name: str) -> ImageFacts:
    """Look at the header of an image file, and at its end; see `image_size`."""
    try:
        with Image.open(file_name) as image:
            width, height = image.size
            orientation = _orientation(image)
            if orientation > 1 and image.format == "TIFF":
                return ImageFacts(problem=_TURNED_TWICE, kind=UNSUITABLE_IMAGE)
            if orientation in _SIDEWAYS:
                width, height = height, width
            marker = _END_OF_FILE.get(image.format)
            if marker is not None and marker not in _tail(file_name):
                image.load()
            if image.mode.startswith(_WIDE_MODES):
                return ImageFacts(problem=_too_many_bits(image.mode), kind=UNSUITABLE_IMAGE)
            return ImageFacts((width, height), orientation)
    except UnidentifiedImageError:
        return ImageFacts(problem="it is no image" if os.path.getsize(file_name) else "it is empty, 0 bytes")
    except Image.DecompressionBombError as error:
        return ImageFacts(problem=f"it is too large for Pillow ({error}): make it smaller")
    except PermissionError:
        return ImageFacts(problem="it may not be read: its permissions forbid it")
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        return ImageFacts(problem=f"it is cut off, or damaged ({error})")


def _orientation(image: Image.Image) -> int:
    if not any(key in image.info for key in _MAY_TELL_ORIENTATION) and image.format != "TIFF":
        return 1  # asking would decode a PNG
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # of any kind; detectron2 turns nothing either where EXIF cannot be read, as of many photographs
        return 1
    return orientation if orientation in range(2, 9) else 1


def _too_many_bits(mode: str) -> str:
    return (
        f"it has more than 8 bits a channel (Pillow's mode {mode}), of which detectron2 would make white or black: "
        "convert it to 8 bits"
    )


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
        problems, turned = zip(*found) if len(dicts) else ((), ())
    _warn_of_turned_images([record["file_name"] for record, is_turned in zip(dicts, turned) if is_turned], name)
    return [problem for problem in problems if problem is not None]


def _warn_of_turned_images(files: List[str], name: str) -> None:
    """Of images turned to another size the size tells for which of the two the boxes are; of others nothing does."""
    if files:
        text = (
            f"{len(files)} images of {name or 'the data set'} are turned or mirrored by their EXIF orientation, e.g. "
            f"{files[0]}. detectron2 turns them, and their boxes have to be those of the turned image; many annotation "
            "tools do not turn it. Their size does not tell: look at one, or remove the orientation from the files."
        )
        log_first_n(logging.WARNING, text, n=1, key="message", name=__name__)


def _check_image_file(record: Dict[str, Any]) -> Tuple[Optional[Problem], bool]:
    """Return what is wrong with an image, and whether EXIF turns it into one of the same size."""
    file_name, image_id = record["file_name"], record["image_id"]
    missing = absence(file_name)
    if missing is not None:
        return Problem(MISSING_IMAGE, file_name, missing, IMAGE, image_id), False
    size, orientation, problem, kind = image_facts(file_name)
    if size is None:
        return Problem(kind, file_name, problem, IMAGE, image_id), False
    declared = (record.get("width", size[0]), record.get("height", size[1]))
    if size != declared:
        detail = f"the annotation says {declared[0]}x{declared[1]}, the image is {size[0]}x{size[1]}"
        if orientation in _SIDEWAYS and declared == size[::-1]:
            detail += (
                " turned as its EXIF orientation says, which detectron2 does: draw its boxes on the turned image, or "
                "remove the orientation from the file"
            )
        return Problem("size that disagrees with the image", file_name, detail, IMAGE, image_id), False
    return None, orientation > 1 and (orientation not in _SIDEWAYS or size[0] == size[1])
