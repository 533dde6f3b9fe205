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
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

__all__ = ["ProposalSet", "ProposalSetError"]

INDEX_FILE = "index.json"
FORMAT_VERSION = 1
FLOAT = np.dtype("<f4")  # written out, so that a set means the same on every machine

ImageId = Union[str, int]
PathLike = Union[str, "os.PathLike[str]"]


class ProposalSetError(ValueError):
    """A proposal set, or what is to be put into one, is not usable; the message names the set and the image."""


def hash_image(content_hash: Any, image_id: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    content_hash.update(json.dumps([image_id, len(boxes)]).encode())
    content_hash.update(boxes.tobytes())
    content_hash.update(scores.tobytes())


class ProposalSet:
    """Reads a proposal set; boxes stay on disk until an image is asked for.

    Memory-mapped: processes on one machine share the pages. Pickling (for data loader workers) carries the index only.

    Args:
        path: folder that a :class:`ProposalSetWriter` wrote.

    Raises:
        ProposalSetError: there is no set, its index is damaged, or a data file has not the size the index says.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        try:
            index = json.loads((self.path / INDEX_FILE).read_text())
        except NotADirectoryError:
            raise ProposalSetError(
                f"{self.path} is a file, not the folder of a proposal set: import_proposals makes one of foreign files"
            ) from None
        except FileNotFoundError:
            raise ProposalSetError(
                f"no proposal set at {self.path} (it has no {INDEX_FILE}); compute_proposals or a ProposalSetWriter "
                "makes one. A .partial folder beside it is what an interrupted process left."
            ) from None
        except ValueError as error:
            raise ProposalSetError(f"{self.path / INDEX_FILE} is damaged ({error}): compute the set again") from error
        if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
            raise ProposalSetError(f"{self.path / INDEX_FILE} is not a proposal set index of version {FORMAT_VERSION}")
        self.dataset_name: str = index["dataset"]
        self.metadata: Dict[str, Any] = index["metadata"]
        self.sha256: str = index["sha256"]  # of ids, boxes and scores in order; recorded while they were written
        self.image_ids: List[str] = index["image_ids"]
        self._row = {image_id: row for row, image_id in enumerate(self.image_ids)}
        self._end = np.cumsum(index["counts"], dtype=np.int64)
        if not len(self._row) == len(self.image_ids) == len(self._end):
            raise ProposalSetError(f"{self.path / INDEX_FILE} is damaged (ids and counts differ): compute it again")
        self._files = {name: self.path / file_name for name, file_name in index["files"].items()}
        self._maps: Optional[Tuple[np.ndarray, np.ndarray]] = None
        self._check_size("boxes", 4)
        self._check_size("scores", 1)

    @property
    def num_boxes(self) -> int:
        """Number T of boxes in the whole set."""
        return int(self._end[-1]) if len(self._end) else 0

    def _check_size(self, name: str, columns: int) -> None:
        path, expected = self._files[name], self.num_boxes * columns * FLOAT.itemsize
        size = path.stat().st_size if path.is_file() else None
        if size != expected:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ProposalSetError(f"{path} {found}, {expected} bytes expected: damaged, compute the set again")

    def _map(self) -> Tuple[np.ndarray, np.ndarray]:
        if self._maps is None:
            if self.num_boxes == 0:  # an empty file cannot be mapped
                self._maps = np.zeros((0, 4), FLOAT), np.zeros(0, FLOAT)
            else:
                boxes = np.memmap(self._files["boxes"], dtype=FLOAT, mode="r", shape=(self.num_boxes, 4))
                scores = np.memmap(self._files["scores"], dtype=FLOAT, mode="r", shape=(self.num_boxes,))
                self._maps = boxes, scores
        return self._maps

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_maps": None}  # a pickled memory map would be a copy of the whole file

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.image_ids)

    def __contains__(self, image_id: ImageId) -> bool:
        return str(image_id) in self._row

    def __getitem__(self, image_id: ImageId) -> Tuple[np.ndarray, np.ndarray]:
        """Return copies of (boxes R x 4, scores R) of one image, float32, by descending score.

        Raises:
            ProposalSetError: the set has no such image.
        """
        if image_id not in self:
            raise ProposalSetError(f"proposal set {self.path} ({self.dataset_name}) has no image {image_id}")
        row = self._row[str(image_id)]
        start, end = (self._end[row - 1] if row else 0), self._end[row]
        boxes, scores = self._map()
        return np.array(boxes[start:end], np.float32), np.array(scores[start:end], np.float32)

    def check_covers(self, dataset_dicts: Sequence[Dict[str, Any]]) -> None:
        """Raise one ProposalSetError that names the images (detectron2 dicts) for which the set has no entry."""
        missing = [str(d["image_id"]) for d in dataset_dicts if d["image_id"] not in self]
        if missing:
            names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ProposalSetError(
                f"proposal set {self.path} ({self.dataset_name}, {len(self)} images) lacks {len(missing)} of "
                f"{len(dataset_dicts)} images: {names}. Compute it again for this data set."
            )

    def verify(self) -> None:
        """Read everything and raise ProposalSetError when the content is not what was written (`sha256`)."""
        content_hash = hashlib.sha256()
        for image_id in self.image_ids:
            boxes, scores = self[image_id]
            hash_image(content_hash, image_id, boxes.astype(FLOAT), scores.astype(FLOAT))
        if content_hash.hexdigest() != self.sha256:
            raise ProposalSetError(f"proposal set {self.path} was changed after it was written: compute it again")
