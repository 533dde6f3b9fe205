"""Writes a proposal set image by image, from one process or from several (the format: :mod:`.proposal_set`).

Shape letters: R proposals of one image, B = 4.
"""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np
import torch

from ..safe_write import naming_errors, replacing, sync_folder
from .proposal_set import (
    FLOAT,
    FORMAT_VERSION,
    INDEX_FILE,
    ImageId,
    PathLike,
    ProposalSet,
    ProposalSetError,
    hash_image,
)

__all__ = ["ProposalSetWriter", "merge_proposal_sets"]


def _as_float_array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=FLOAT)


class ProposalSetWriter:
    """Writes a proposal set image by image, and gives it its name only when it is whole.

    A context manager. Data goes to ``<path>.partial`` beside `path` and is moved into place when the ``with`` block
    ends; an exception in the block, or the end of the process, leaves what was under `path` before.

    Args:
        path: folder of the set; a set that is already there is replaced.
        dataset_name: the registered data set whose images these are.
        extra_metadata: anything that JSON can hold, e.g. how the proposals were made; not part of the content hash.
    """

    def __init__(self, path: PathLike, dataset_name: str, extra_metadata: Optional[Dict[str, Any]] = None):
        self.path = Path(path)
        self.dataset_name = dataset_name
        self.metadata = json.loads(json.dumps(extra_metadata or {}))  # what JSON cannot hold fails now, not at the end
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._counts: Optional[Dict[str, int]] = None  # in writing order; None outside the with block
        self._writable = True  # False once an image could not be written whole: no set comes of it

    def __enter__(self) -> "ProposalSetWriter":
        if self.path.exists() and not (self.path / INDEX_FILE).is_file():
            raise ProposalSetError(f"{self.path} exists and is not a proposal set: remove it or choose another path")
        shutil.rmtree(self._partial, ignore_errors=True)
        with naming_errors(self.path):
            self._partial.mkdir(parents=True)
            self._files = {name: open(self._partial / name, "wb") for name in ("boxes", "scores")}  # noqa: SIM115
        self._hash = hashlib.sha256()
        self._counts = {}
        return self

    def add(self, image_id: ImageId, boxes: Any, scores: Any) -> None:
        """Append the proposals of one image, sorted by descending score (equal scores keep their order).

        Args:
            image_id: compared as str; each may be added once.
            boxes: R x 4 array or tensor, XYXY, original-image continuous pixels; R may be 0.
            scores: R, higher is better (objectness logits when an RPN made them).

        Raises:
            ProposalSetError: duplicate id, wrong shape, a value that is not finite, x2 < x1 or y2 < y1.
            WriteError: the disk is full.
        """
        if self._counts is None:
            raise ProposalSetError(f"{self.path}: add() needs `with ProposalSetWriter(...) as writer:` around it")
        image_id = str(image_id)
        where = f"image {image_id} of {self.dataset_name} (proposal set {self.path})"
        if image_id in self._counts:
            raise ProposalSetError(f"{where} has been added already")
        boxes, scores = _as_float_array(boxes), _as_float_array(scores)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
            raise ProposalSetError(f"{where}: need R x 4 boxes and R scores, got {boxes.shape} and {scores.shape}")
        for name, values in (("boxes", boxes), ("scores", scores)):
            if not np.isfinite(values).all():
                raise ProposalSetError(f"{where}: its {name} hold NaN or infinity")
        inverted = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
        if len(inverted):
            raise ProposalSetError(f"{where}: x2 < x1 or y2 < y1 in {len(inverted)} boxes, e.g. {boxes[inverted[0]]}")
        order = np.argsort(-scores, kind="stable")
        boxes, scores = boxes[order], scores[order]
        self._writable = False  # until both files have all of it
        with naming_errors(self.path):
            self._files["boxes"].write(boxes.tobytes())
            self._files["scores"].write(scores.tobytes())
        self._writable = True
        hash_image(self._hash, image_id, boxes, scores)
        self._counts[image_id] = len(boxes)

    def __exit__(self, exception_type, exception, traceback) -> None:
        counts, self._counts = self._counts, None
        published = False
        try:
            if exception_type is None and self._writable:
                with naming_errors(self.path):
                    for file in self._files.values():
                        file.flush()
                        os.fsync(file.fileno())
                        file.close()
                    self._publish(counts)
                published = True
        finally:
            if not published:
                for file in self._files.values():
                    with contextlib.suppress(OSError):  # it flushes once more, into the same full disk
                        file.close()
                shutil.rmtree(self._partial, ignore_errors=True)

    def _publish(self, counts: Dict[str, int]) -> None:
        digest = self._hash.hexdigest()
        data_files = {name: f"{name}-{digest[:12]}.float32" for name in self._files}
        for name, file_name in data_files.items():
            os.replace(self._partial / name, self._partial / file_name)
        index = {
            "version": FORMAT_VERSION,
            "dataset": self.dataset_name,
            "sha256": digest,
            "files": data_files,
            "metadata": self.metadata,
            "image_ids": list(counts),
            "counts": list(counts.values()),
        }
        with replacing(self._partial / INDEX_FILE, "w") as file:
            json.dump(index, file)
        if not self.path.exists():
            os.rename(self._partial, self.path)
            sync_folder(self.path.parent)
            return
        # A folder that is not empty cannot be replaced in one move, but a file can: the old index stands, with its own
        # data files, until the moment the new index takes its place.
        for file_name in data_files.values():
            os.replace(self._partial / file_name, self.path / file_name)
        os.replace(self._partial / INDEX_FILE, self.path / INDEX_FILE)
        sync_folder(self.path)
        self._partial.rmdir()
        for name, file_name in data_files.items():
            for stale in self.path.glob(f"{name}-*.float32"):
                if stale.name != file_name:
                    stale.unlink()


def merge_proposal_sets(
    part_paths: Sequence[PathLike],
    path: PathLike,
    order: Sequence[ImageId],
    extra_metadata: Optional[Dict[str, Any]] = None,
) -> ProposalSet:
    """Put sets that several processes wrote together into one, as if one process had written it.

    Args:
        part_paths: sets of the same data set with no image in common; they are left where they are.
        path: folder of the new set.
        order: every image id of the new set, in writing order (that of the data set).
        extra_metadata: see :class:`ProposalSetWriter`.

    Raises:
        ProposalSetError: an image is in several parts, in none, or not in `order`; or the parts' data sets differ.
    """
    parts = [ProposalSet(part_path) for part_path in part_paths]
    names = sorted({part.dataset_name for part in parts})
    if len(names) != 1:
        raise ProposalSetError(f"{path}: cannot merge proposal sets of {len(names)} data sets ({', '.join(names)})")
    part_of: Dict[str, ProposalSet] = {}
    for part in parts:
        for image_id in part:
            if image_id in part_of:
                raise ProposalSetError(f"image {image_id} is both in {part_of[image_id].path} and in {part.path}")
            part_of[image_id] = part
    wanted = [str(image_id) for image_id in order]
    unmatched = sorted(set(wanted) ^ set(part_of))
    if unmatched:
        raise ProposalSetError(
            f"{path}: {len(unmatched)} images are in the parts or in the order but not in both: "
            f"{', '.join(unmatched[:5])}"
        )
    with ProposalSetWriter(path, names[0], extra_metadata) as writer:
        before: Optional[ProposalSet] = None
        for image_id in wanted:
            part = part_of[image_id]
            if before is not None and before is not part:
                before.close()  # there may be thousands of parts, and two open files of each are too many
            writer.add(image_id, *part[image_id])
            before = part
    return ProposalSet(path)
