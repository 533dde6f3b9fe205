"""Images whose files cannot be read while they are used: they stop a run with one error, or are skipped and counted.

``check_datasets`` has looked at every file before; what is met here has happened since. A loader's worker hands over
what it could not read as a value (`UnreadableImage`), so that the main process says so in one sentence: torch would
wrap an exception in the worker's traceback.
"""

import logging
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sized, Union

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.detection_utils import SizeMismatchError, check_image_size, read_image
from detectron2.utils import comm
from detectron2.utils.logger import log_first_n

from .images import absence, image_facts
from .problems import DatasetError

__all__ = ["MappedOrUnreadable", "SkippingLoader", "UnreadableImage", "UnreadableImages", "forget_skipped_images"]
__all__ += ["most_unreadable", "read_or_refuse", "skipped_images", "skips_unreadable", "unreadable_image"]

# File -> what is wrong with it, of all images that this process has skipped since `forget_skipped_images`.
_SKIPPED: Dict[str, str] = {}


class UnreadableImage(NamedTuple):
    """An image of a data set that could not be read.

    Attributes:
        image_id: of its dictionary.
        file_name: its file.
        reason: a clause that says why.
    """

    image_id: Any
    file_name: str
    reason: str


def skips_unreadable(cfg: CfgNode) -> bool:
    """Whether DATALOADER.UNREADABLE_IMAGES says that images which cannot be read are skipped."""
    return cfg.DATALOADER.UNREADABLE_IMAGES == "skip"


def most_unreadable(cfg: CfgNode, images: int) -> int:
    """How many of `images` images may be unreadable, by DATALOADER.MAX_UNREADABLE_SHARE."""
    return max(1, int(cfg.DATALOADER.MAX_UNREADABLE_SHARE * images))


def unreadable_image(record: Dict[str, Any], image_format: Optional[str]) -> Optional[UnreadableImage]:
    """Read an image once more to say why it cannot be read; None if it can.

    Args:
        record: detectron2 data set dictionary.
        image_format: of ``read_image``.
    """
    file_name = record["file_name"]
    try:
        check_image_size(dict(record), read_image(file_name, format=image_format))
        return None
    except SizeMismatchError as error:
        reason = f"{error}".replace(f" for image {file_name}", "")
    except Exception as error:  # of Pillow's plugins: anything
        missing = absence(file_name)
        if missing is not None:
            reason = missing or "there is no such file any more"
        else:
            reason = image_facts(file_name).problem or f"{type(error).__name__}: {error}"
    return UnreadableImage(record.get("image_id", ""), file_name, reason)


def read_or_refuse(record: Dict[str, Any], image_format: str) -> np.ndarray:
    """Read an image as detectron2 does, (H, W, C) uint8 in `image_format`.

    Raises:
        DatasetError: it cannot be read; it is named.
    """
    try:
        return read_image(record["file_name"], format=image_format)
    except Exception as error:  # of Pillow's plugins: anything
        found = unreadable_image(record, image_format)
        raise DatasetError(
            f"Image {record['image_id']} cannot be read: {record['file_name']}: {found.reason if found else error}. "
            "Put the file back, and go on with --resume."
        ) from error


class MappedOrUnreadable:
    """A mapper that returns an `UnreadableImage` where `mapper` fails because it cannot read the image.

    Args:
        mapper: dictionary -> model input. Other errors of it are raised on.
    """

    def __init__(self, mapper: Callable[[Dict[str, Any]], Any]):
        self.mapper = mapper

    def __call__(self, record: Dict[str, Any]) -> Union[Any, UnreadableImage]:
        try:
            return self.mapper(record)
        except Exception:
            if "file_name" not in record:
                raise
            found = unreadable_image(record, getattr(self.mapper, "image_format", None))
            if found is None:
                raise
            return found


class UnreadableImages:
    """Those that one loader has met: stops at them, or lets them pass as long as they are few.

    Args:
        cfg: reads DATALOADER.UNREADABLE_IMAGES and MAX_UNREADABLE_SHARE.
        images: of the data set that is loaded.
    """

    def __init__(self, cfg: CfgNode, images: int):
        self.skips = skips_unreadable(cfg)
        self.most = most_unreadable(cfg, images)
        self.images = images
        self._met: Dict[str, str] = {}

    def meet(self, image: UnreadableImage) -> None:
        """Take note of an image.

        Raises:
            DatasetError: it is not to be skipped, or too many were.
        """
        what = f"Image {image.image_id} cannot be read: {image.file_name}: {image.reason}."
        if not self.skips:
            raise DatasetError(
                f"{what} Put the file back, and go on with --resume; or set DATALOADER.UNREADABLE_IMAGES to 'skip'."
            )
        self._met[image.file_name] = image.reason
        text = f"{what} It is skipped, as DATALOADER.UNREADABLE_IMAGES says."
        log_first_n(logging.WARNING, text, n=1, key="message", name=__name__)
        _SKIPPED[image.file_name] = image.reason
        if len(self._met) > self.most:
            raise DatasetError(
                f"{what} With it {len(self._met)} of {self.images} images cannot be read, more than "
                f"DATALOADER.MAX_UNREADABLE_SHARE allows, {self.most}: {', '.join(list(self._met)[:5])}. Put the files "
                "back, and go on with --resume."
            )

    def refuse(self, image: UnreadableImage) -> None:
        """Say that nothing can take the place of an image, which has been met.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(
            f"Image {image.image_id} cannot be read: {image.file_name}: {image.reason}. Nor can the images that were "
            "tried in its place: put the files back, and go on with --resume."
        )


class SkippingLoader:
    """A test loader of one image a batch, less the images that cannot be read.

    Args:
        loader: whose mapper is a `MappedOrUnreadable`.
        unreadable: told of each.
        when_skipped: called with each image that is skipped, when its turn comes.
    """

    def __init__(
        self,
        loader: Union[Iterable[List[Any]], Sized],
        unreadable: UnreadableImages,
        when_skipped: Optional[Callable[[UnreadableImage], None]] = None,
    ):
        self.loader = loader
        self.unreadable = unreadable
        self.when_skipped = when_skipped

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[List[Any]]:
        for batch in self.loader:
            readable = []
            for image in batch:
                if not isinstance(image, UnreadableImage):
                    readable.append(image)
                    continue
                self.unreadable.meet(image)
                if self.when_skipped is not None:
                    self.when_skipped(image)
            if readable:
                yield readable


def forget_skipped_images() -> None:
    """Begin to count anew."""
    _SKIPPED.clear()


def skipped_images(*, of_all_processes: bool = False) -> Dict[str, str]:
    """Return file -> reason for the images skipped since `forget_skipped_images`, sorted by file.

    Args:
        of_all_processes: every process has to call this then.
    """
    found = comm.all_gather(dict(_SKIPPED)) if of_all_processes else [_SKIPPED]
    together = {file: reason for part in found for file, reason in part.items()}
    return dict(sorted(together.items()))
