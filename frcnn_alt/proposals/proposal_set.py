"""A proposal set on disk: boxes and scores of every image of one data set, read lazily.

Proposals are what one step of alternating training hands to the next (paper section 3.2, SPEC 6.2). Two thousand boxes
an image are 200 MB for VOC 2007 and 5 GB for COCO, so they are neither collected in memory before writing nor loaded
whole for reading. A set is a folder::

    index.json             image ids with their numbers of boxes in writing order, data set name, content hash
    boxes-<hash>.float32   raw little-endian float32, T x 4, all images one after another
    scores-<hash>.float32  raw little-endian float32, T

Boxes are XYXY in continuous coordinates of the original image (pixel i covers [i, i + 1]).

Shape letters: T boxes in the set, R boxes of one image, B = 4.
"""

import hashlib
import itertools
import json
import os
import re
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple, Union

import numpy as np

__all__ = ["ProposalSet", "ProposalSetError"]

INDEX_FILE = "index.json"
FORMAT_VERSION = 1
FLOAT = np.dtype("<f4")  # written out, so that a set means the same on every machine

_BOXES_PER_PART = 1 << 20  # that are looked at at once

ImageId = Union[str, int]
PathLike = Union[str, "os.PathLike[str]"]


class ProposalSetError(ValueError):
    """A proposal set, or what is to be put into one, is not usable; the message names the set and the image."""


def hash_image(content_hash: Any, image_id: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    content_hash.update(json.dumps([image_id, len(boxes)]).encode())
    content_hash.update(boxes.tobytes())
    content_hash.update(scores.tobytes())


def _read_index(folder: Path) -> Dict[str, Any]:
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except NotADirectoryError:
        raise ProposalSetError(
            f"{folder} is a file, not the folder of a proposal set: import_proposals makes one of foreign files"
        ) from None
    except FileNotFoundError:
        raise ProposalSetError(
            f"no proposal set at {folder} (it has no {INDEX_FILE}); compute_proposals or a ProposalSetWriter "
            "makes one. A .partial folder beside it is what an interrupted process left."
        ) from None
    except (OSError, RecursionError, ValueError) as error:
        raise ProposalSetError(f"{path} is damaged ({error}): compute the set again") from error
    if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
        raise ProposalSetError(f"{path} is not a proposal set index of version {FORMAT_VERSION}")
    wrong = [key for key, is_right in _IN_INDEX.items() if key not in index or not is_right(index[key])]
    if wrong:
        raise ProposalSetError(f"{path} is damaged ({', '.join(wrong)} missing or garbled): compute the set again")
    return index


def _are_numbers_of_boxes(counts: Any) -> bool:
    return isinstance(counts, list) and all(type(count) is int and 0 <= count < 2**63 for count in counts)


def _are_data_files(files: Any) -> bool:
    """Whether they are names of files in the set's own folder: an index may come from anywhere."""
    if not isinstance(files, dict):
        return False
    names = [files.get(name) for name in ("boxes", "scores")]
    return all(isinstance(name, str) and _FILE_NAME.fullmatch(name) for name in names)


_FILE_NAME = re.compile(r"\w[\w.-]{0,200}", re.ASCII)
_IN_INDEX: Dict[str, Callable[[Any], bool]] = {
    "dataset": lambda value: isinstance(value, str),
    "metadata": lambda value: isinstance(value, dict),
    "sha256": lambda value: isinstance(value, str),
    "image_ids": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "counts": _are_numbers_of_boxes,
    "files": _are_data_files,
}


class ProposalSet:
    """Reads a proposal set; boxes stay on disk until an image is asked for.

    Each image is read by itself: what a memory map has read counts as memory of the process, of every data loader
    worker once more, and a file that is cut meanwhile would kill it. Files stay open from the first image on (`close`),
    so that a set which is replaced is read to its end; forked workers may share them. Pickling carries the index only.

    Args:
        path: folder that a :class:`ProposalSetWriter` wrote.

    Raises:
        ProposalSetError: there is no set, its index is damaged or names files elsewhere, or a data file has not the
            size that the index says.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        index = _read_index(self.path)
        self.dataset_name: str = index["dataset"]
        self.metadata: Dict[str, Any] = index["metadata"]
        self.sha256: str = index["sha256"]  # of ids, boxes and scores in order; recorded while they were written
        self.image_ids: List[str] = index["image_ids"]
        self._row = {image_id: row for row, image_id in enumerate(self.image_ids)}
        self._end = list(itertools.accumulate(index["counts"]))  # Python's numbers, which no count makes overflow
        if not len(self._row) == len(self.image_ids) == len(self._end):
            raise ProposalSetError(f"{self.path / INDEX_FILE} is damaged (ids and counts differ): compute it again")
        self._files = {name: self.path / index["files"][name] for name in ("boxes", "scores")}
        self._opened: Dict[str, Tuple[int, weakref.finalize]] = {}
        self._check_size("boxes", 4)
        self._check_size("scores", 1)

    @property
    def num_boxes(self) -> int:
        """Number T of boxes in the whole set."""
        return self._end[-1] if self._end else 0

    def _check_size(self, name: str, columns: int) -> None:
        path, expected = self._files[name], self.num_boxes * columns * FLOAT.itemsize
        size = path.stat().st_size if path.is_file() else None
        if size != expected:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ProposalSetError(f"{path} {found}, {expected} bytes expected: damaged, compute the set again")

    def _descriptor(self, name: str) -> int:
        if name not in self._opened:
            descriptor = os.open(self._files[name], os.O_RDONLY)
            self._opened[name] = descriptor, weakref.finalize(self, os.close, descriptor)
        return self._opened[name][0]

    def close(self) -> None:
        """Close the data files; the next image that is asked for opens them again."""
        while self._opened:
            self._opened.popitem()[1][1]()

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def _read(self, name: str, start: int, end: int, columns: int) -> np.ndarray:
        """The rows from `start` to `end` of a data file, by a call that has no position to share between processes."""
        values = np.empty((end - start) * columns, FLOAT)
        into, place = memoryview(values).cast("B"), start * columns * FLOAT.itemsize
        try:
            while len(into):
                count = os.preadv(self._descriptor(name), [into], place)
                if not count:
                    raise ProposalSetError(f"{self._files[name]} was cut after it was opened: compute the set again")
                into, place = into[count:], place + count
        except OSError as error:
            raise ProposalSetError(f"{self._files[name]} cannot be read any more: {error.strerror}") from error
        return values.astype(np.float32, copy=False)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.image_ids)

    def __contains__(self, image_id: ImageId) -> bool:
        return str(image_id) in self._row

    def __getitem__(self, image_id: ImageId) -> Tuple[np.ndarray, np.ndarray]:
        """Return (boxes R x 4, scores R) of one image, float32, by descending score; the caller's own.

        Raises:
            ProposalSetError: the set has no such image; or its files have gone or been cut since.
        """
        if image_id not in self:
            raise ProposalSetError(f"proposal set {self.path} ({self.dataset_name}) has no image {image_id}")
        row = self._row[str(image_id)]
        start, end = (int(self._end[row - 1]) if row else 0), int(self._end[row])
        return self._read("boxes", start, end, 4).reshape(-1, 4), self._read("scores", start, end, 1)

    def check_covers(self, dataset_dicts: Sequence[Dict[str, Any]]) -> None:
        """Raise one ProposalSetError that names the images (detectron2 dicts) for which the set has no entry."""
        missing = [str(d["image_id"]) for d in dataset_dicts if d["image_id"] not in self]
        if missing:
            names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ProposalSetError(
                f"proposal set {self.path} ({self.dataset_name}, {len(self)} images) lacks {len(missing)} of "
                f"{len(dataset_dicts)} images: {names}. Compute it again for this data set."
            )

    def check_values(self) -> None:
        """Read everything, part by part, and raise ProposalSetError at NaN, infinity or a box with x2 < x1 or y2 < y1.

        Files of a writer have none; these may come from elsewhere, or from a disk that fails.
        """
        for start in range(0, self.num_boxes, _BOXES_PER_PART):
            end = min(start + _BOXES_PER_PART, self.num_boxes)
            some = self._read("boxes", start, end, 4).reshape(-1, 4)
            finite = np.isfinite(some).all(axis=1) & np.isfinite(self._read("scores", start, end, 1))
            bad = np.flatnonzero(~finite | (some[:, 2:] < some[:, :2]).any(axis=1))
            if len(bad):
                image_id = self.image_ids[int(np.searchsorted(self._end, start + bad[0], side="right"))]
                what = "a box with x2 < x1 or y2 < y1" if finite[bad[0]] else "NaN or infinity"
                raise ProposalSetError(
                    f"proposal set {self.path} ({self.dataset_name}) has {what} for image {image_id}: it is damaged, "
                    "compute it again"
                )

    def verify(self) -> None:
        """Read everything and raise ProposalSetError when the content is not what was written (`sha256`)."""
        content_hash = hashlib.sha256()
        for image_id in self.image_ids:
            boxes, scores = self[image_id]
            hash_image(content_hash, image_id, boxes.astype(FLOAT), scores.astype(FLOAT))
        if content_hash.hexdigest() != self.sha256:
            raise ProposalSetError(f"proposal set {self.path} was changed after it was written: compute it again")
