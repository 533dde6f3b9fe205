"""A proposal set that is made over hours: finished already, begun, or to be made; and whether it is the one asked for.

What is done lies in parts beside the set, ``<path>.parts/00000`` and so on, each a proposal set of some of the images.
A run that is killed loses the part that it was writing; one that is interrupted nothing that was added. The parts
become the set when no image is missing.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from detectron2.utils import comm

from .proposal_set import ImageId, PathLike, ProposalSet, ProposalSetError
from .proposal_set_writer import ProposalSetWriter, merge_proposal_sets

__all__ = ["PartsWriter", "ResumableSet", "fingerprint"]

IMAGES_PER_PART = 32

_LISTED = 5


def fingerprint(dataset_dicts: Sequence[Dict[str, Any]]) -> str:
    """A hash of which images these are: ids, sizes in pixels and sizes of files, in order; no file is opened."""
    about = [[str(d["image_id"]), d.get("width"), d.get("height"), _bytes(d.get("file_name"))] for d in dataset_dicts]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _bytes(file_name: Optional[str]) -> Optional[int]:
    return os.path.getsize(file_name) if file_name and os.path.isfile(file_name) else None


def _differences(found: Any, wanted: Any, key: str = "") -> List[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        prefix = f"{key}." if key else ""
        names = dict.fromkeys([*wanted, *(found if key else ())])  # found may tell more of itself
        return [text for name in names for text in _differences(found.get(name), wanted.get(name), f"{prefix}{name}")]
    return [] if found == wanted else [f"{key} {found!r} and not {wanted!r}"]


def _one_or_all(values: List[Any]) -> Any:
    """What all parts say of themselves; where they differ (another version of a library), the list of it."""
    different = [value for place, value in enumerate(values) if value not in values[:place]]
    return different[0] if len(different) == 1 else different


class ResumableSet:
    """One proposal set of all images of a data set, to be made with certain settings.

    Args:
        path: folder of the set.
        dataset_name: whose images these are.
        dataset_dicts: detectron2 dicts with unique "image_id".
        settings: what JSON can hold; a set is the one asked for if its metadata has all of it, with equal values.
        overwrite: make the set anew if it is there, and begin anew if one with other settings was begun. The set that
            is there stays until the new one is complete.

    Raises:
        ProposalSetError: there are no images; or there is a set, or a part of one, with other settings or of other
            images, and not `overwrite`.
    """

    def __init__(
        self,
        path: PathLike,
        dataset_name: str,
        dataset_dicts: Sequence[Dict[str, Any]],
        settings: Dict[str, Any],
        *,
        overwrite: bool = False,
    ):
        if not dataset_dicts:
            raise ProposalSetError(f"data set {dataset_name} has no images: there is nothing to compute proposals of")
        self.path, self.dataset_name = Path(path), dataset_name
        self.image_ids = [str(image["image_id"]) for image in dataset_dicts]
        self.metadata: Dict[str, Any] = json.loads(json.dumps({**settings, "images": fingerprint(dataset_dicts)}))
        self.folder = self.path.with_name(f"{self.path.name}.parts")
        self._dicts = {str(image["image_id"]): image for image in dataset_dicts}
        self.finished: Optional[ProposalSet] = None if overwrite else self._finished()
        self.overwrite = overwrite
        # Killed between the last two steps of `merge`: the set is complete, and its parts are still there.
        if comm.is_main_process() and self.path.exists() and (self.finished is not None or not self.missing()):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _finished(self) -> Optional[ProposalSet]:
        if not self.path.exists():
            return None
        proposals = ProposalSet(self.path)
        problem = self._problem(proposals)
        if problem is None and proposals.image_ids != self.image_ids:
            problem = f"it holds {len(proposals)} images, and {self.dataset_name} has {len(self.image_ids)}"
        if problem:
            raise ProposalSetError(
                f"{self.path} is another proposal set than the one asked for: {problem}. --overwrite makes it anew, "
                "another --output leaves it alone."
            )
        return proposals

    def _problem(self, proposals: ProposalSet) -> Optional[str]:
        if proposals.dataset_name != self.dataset_name:
            return f"it is of {proposals.dataset_name}"
        if "method" not in proposals.metadata:
            return "it does not tell how it was made"
        found = _differences(proposals.metadata, self.metadata)
        of_images = [text for text in found if text.startswith("images ")]
        others = [text for text in found if text not in of_images]
        if not others and of_images:
            return f"the images of {self.dataset_name} have changed since (their ids, sizes or files)"
        more = f", and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        return f"it was made with {', '.join(others[:_LISTED])}{more}" if others else None

    def _parts(self) -> List[ProposalSet]:
        """The finished parts; those that a crash has damaged or that are to be overwritten are removed."""
        parts = []
        for folder in sorted(self.folder.glob("[0-9]*")):
            if not folder.name.isdigit():
                continue  # what a ProposalSetWriter was writing when it was killed
            try:
                part = ProposalSet(folder)
            except ProposalSetError:
                shutil.rmtree(folder)
                continue
            problem = self._problem(part)
            if problem and self.overwrite:
                shutil.rmtree(folder)
            elif problem:
                raise ProposalSetError(
                    f"{self.folder} is what is done of another proposal set than the one asked for: {problem}. "
                    "--overwrite begins anew; the other one's command goes on with it."
                )
            else:
                parts.append(part)
        return parts

    def missing(self) -> List[Dict[str, Any]]:
        """The images that no part has, in data set order.

        Raises:
            ProposalSetError: there are parts with other settings, and not `overwrite`.
        """
        done = {image_id for part in self._parts() for image_id in part}
        return [image for image_id, image in self._dicts.items() if image_id not in done]

    def next_part(self) -> Path:
        """Where the next part goes. Two commands must not work on one set at a time."""
        numbers = [int(folder.name) for folder in self.folder.glob("[0-9]*") if folder.name.isdigit()]
        return self.folder / f"{max(numbers, default=-1) + 1:05d}"

    def merge(self) -> ProposalSet:
        """Put the parts together and remove them.

        Raises:
            ProposalSetError: an image is missing.
        """
        parts = self._parts()
        metadata = {key: _one_or_all([part.metadata.get(key) for part in parts]) for key in parts[0].metadata}
        merged = merge_proposal_sets([part.path for part in parts], self.path, self.image_ids, metadata)
        shutil.rmtree(self.folder)
        return merged


class PartsWriter:
    """Writes images into parts of a set; a context manager. Whatever ends the block, what was added is kept."""

    def __init__(self, resumable: ResumableSet, extra_metadata: Dict[str, Any]):
        self._set, self._metadata = resumable, {**resumable.metadata, **extra_metadata}
        self._writer: Optional[ProposalSetWriter] = None
        self._images = 0

    def __enter__(self) -> "PartsWriter":
        return self

    def add(self, image_id: ImageId, boxes: Any, scores: Any) -> None:
        """As `ProposalSetWriter.add`."""
        if self._writer is None:
            self._writer = ProposalSetWriter(self._set.next_part(), self._set.dataset_name, self._metadata).__enter__()
            self._images = 0
        self._writer.add(image_id, boxes, scores)
        self._images += 1
        if self._images == IMAGES_PER_PART:
            self._close()

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(None, None, None)

    def __exit__(self, *_: Any) -> None:
        self._close()
