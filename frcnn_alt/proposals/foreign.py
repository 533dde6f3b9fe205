"""Imports published proposals: reads the formats of SPEC 9, checks them against the data set, writes a proposal set.

A file of somebody else is believed in nothing. Its corners may be of other images or in another order, its list of
images another one; everything that is wrong is told at once, with images and numbers, before anything can use it.

Shape letters: R boxes of one image, B = 4.
"""

import logging
import re
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from detectron2.data import DatasetCatalog

from ..data.problems import Problem, describe_problems
from .detectron2_files import read_detectron2
from .matlab_files import XYXY, YXYX, ImageReader, read_image_folder, read_release_rpn, read_selective_search
from .proposal_set import PathLike, ProposalSet, ProposalSetError
from .proposal_set_writer import ProposalSetWriter

__all__ = ["PROPOSAL_FORMATS", "import_proposals"]

# format -> reader of the names of the images (None: the image of the data set that has the same place) and their boxes
PROPOSAL_FORMATS: Dict[str, Callable[[Path], Tuple[Sequence[Optional[str]], ImageReader]]] = {
    "selective_search": read_selective_search,
    "selective_search_ijcv": partial(read_image_folder, columns=XYXY),
    "coco_hosang": partial(read_image_folder, columns=XYXY),
    "coco_mcg": partial(read_image_folder, columns=YXYX),
    "matlab_rpn": read_release_rpn,
    "detectron2": read_detectron2,
}

_OUTSIDE = "boxes outside the image"


def import_proposals(
    path: PathLike,
    file_format: str,
    dataset_name: str,
    output_path: PathLike,
    dataset_dicts: Optional[List[Dict[str, Any]]] = None,
    *,
    drop_duplicate_and_tiny: bool = False,
    extra_metadata: Optional[Dict[str, Any]] = None,
) -> ProposalSet:
    """Write the proposals of a published file (or folder) for the images of a data set as a proposal set.

    Boxes become XYXY in continuous pixels of the original image. Where the file has no scores, its order is the
    priority, and the scores are R, R - 1 ... 1, so that nothing reorders them. Equal scores keep the file's order.

    Args:
        path: file or folder.
        file_format: "selective_search" (Girshick's selective_search_data/<imdb>.mat), "selective_search_ijcv",
            "coco_hosang", "coco_mcg" (folders of .mat files), "matlab_rpn" (of the MATLAB release) or "detectron2"
            (.pkl, Detectron's too).
        dataset_name: a registered data set, or any name if `dataset_dicts` are given.
        output_path: folder of the proposal set; it is written only if there is nothing to complain of.
        dataset_dicts: detectron2 dicts with "image_id", "width" and "height"; read from the DatasetCatalog if None.
        drop_duplicate_and_tiny: of boxes that are equal in whole pixels keep the best, and then those with
            x2 - x1 >= 2 and y2 - y1 > 2 between inclusive corners, as py-faster-rcnn does with .mat files. Fast R-CNN
            and the MATLAB release use them all.
        extra_metadata: what else the set's metadata are to tell.

    Raises:
        ProposalSetError: the file is not what `file_format` says, lacks images of the data set, or has boxes that are
            not numbers, inverted or more than a pixel outside of their image; all of them are counted, some named.
    """
    path = Path(path)
    if file_format not in PROPOSAL_FORMATS:
        raise ProposalSetError(
            f"unknown format of proposals {file_format!r}: it is one of {', '.join(PROPOSAL_FORMATS)}"
        )
    if not path.exists():
        raise ProposalSetError(f"no proposals at {path}")
    dicts = DatasetCatalog.get(dataset_name) if dataset_dicts is None else dataset_dicts
    if not dicts:
        raise ProposalSetError(f"data set {dataset_name} has no images: there is nothing to import proposals for")
    names, read = PROPOSAL_FORMATS[file_format](path)
    number_of = _match_images(names, dicts, dataset_name, path)
    metadata = {"imported": path.name, "format": file_format, "drop_duplicate_and_tiny": drop_duplicate_and_tiny}
    metadata.update(extra_metadata or {})
    problems: List[Problem] = []
    ties: Dict[str, int] = {}
    with ProposalSetWriter(output_path, dataset_name, metadata) as writer:
        for image in dicts:
            image_id = str(image["image_id"])
            if image_id not in number_of:
                problems.append(Problem("image without proposals", f"image {image_id}"))
                continue
            boxes, scores = read(number_of[image_id])
            if scores is None:
                scores = np.arange(len(boxes), 0, -1)
            scores = scores.astype(np.float32)  # before they are compared: others may be equal now
            found = _box_problems(boxes, scores, image)
            problems += found
            if found:
                continue
            order = np.argsort(-scores, kind="stable")
            if drop_duplicate_and_tiny:
                order = order[_without_duplicate_and_tiny(boxes[order])]
            ties[image_id] = int((np.diff(scores[order]) == 0).sum())
            writer.add(image_id, boxes[order], scores[order])
        if problems:  # in the with block: the set is discarded
            hint = ""
            if any(problem.kind == _OUTSIDE for problem in problems):
                hint = f"\nAre the columns in the order of {file_format}, and is this the right data set?"
            raise ProposalSetError(
                f"{path} ({file_format}) cannot be used for {dataset_name} ({len(dicts)} images). "
                f"{describe_problems(problems, 20)}{hint}"
            )
    tied = [f"{count} in image {image_id}" for image_id, count in ties.items() if count]
    if tied:
        logging.getLogger(__name__).warning(
            f"{path}: {sum(ties.values())} boxes in {len(tied)} images have the score of the box before them "
            f"({_first(tied)}); they keep the order of the file, which detectron2's own loader does not"
        )
    proposals = ProposalSet(output_path)
    logging.getLogger(__name__).info(
        f"Proposals of {dataset_name}: {proposals.num_boxes} boxes of {len(proposals)} images from {path} "
        f"({file_format}), written to {output_path}"
    )
    return proposals


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _match_images(
    names: Sequence[Optional[str]], dicts: Sequence[Dict[str, Any]], dataset_name: str, path: Path
) -> Dict[str, int]:
    """Return image id -> number in the file, which names images by id, by file name, or as COCO with the id in it."""
    if any(name is None for name in names):
        if len(names) != len(dicts):
            twice = " Does it hold each image and then its mirror image?" if len(names) == 2 * len(dicts) else ""
            raise ProposalSetError(
                f"{path} does not name its images, so they have to be those of {dataset_name} in order; but it has "
                f"{len(names)} images, and {dataset_name} {len(dicts)}.{twice}"
            )
        return {str(image["image_id"]): number for number, image in enumerate(dicts)}
    ids = {}
    for image in (image for image in dicts if "file_name" in image):
        file_name = PurePath(image["file_name"])
        ids[file_name.name] = ids[file_name.stem] = str(image["image_id"])
    ids.update({str(image["image_id"]): str(image["image_id"]) for image in dicts})  # an id goes before a file name
    number_of: Dict[str, int] = {}
    unknown = []
    for number, name in enumerate(names):
        in_coco = re.fullmatch(r"COCO_\w+_0*(\d+)", name)
        known = [key for key in (name, PurePath(name).name, in_coco and in_coco.group(1)) if key in ids]
        if not known:
            unknown.append(name)
        elif ids[known[0]] in number_of:
            raise ProposalSetError(f"{path} has image {ids[known[0]]} twice: as number {number + 1} it is {name}")
        else:
            number_of[ids[known[0]]] = number
    if unknown:
        logging.getLogger(__name__).warning(
            f"{path}: {len(unknown)} of its {len(names)} images are not in {dataset_name} and are left out: "
            f"{_first(unknown)}"
        )
    return number_of


def _box_problems(boxes: np.ndarray, scores: np.ndarray, image: Dict[str, Any]) -> List[Problem]:
    """What is wrong with boxes (R x 4, continuous XYXY) and scores (R) of an image, one Problem for each kind."""
    if not ("width" in image and "height" in image):
        raise ProposalSetError(
            f'image {image["image_id"]} of the data set needs "width" and "height" to check its boxes'
        )
    with np.errstate(invalid="ignore"):
        wrong = {
            "boxes or scores that are not finite": ~(np.isfinite(boxes).all(axis=1) & np.isfinite(scores)),
            "boxes with x2 < x1 or y2 < y1": (boxes[:, 2:] < boxes[:, :2]).any(axis=1),
            # A pixel is rounding, and a release that disagrees about where counting starts; the mapper clips it.
            _OUTSIDE: ((boxes < -1) | (boxes > np.tile([image["width"] + 1, image["height"] + 1], 2))).any(axis=1),
        }
    return [
        Problem(
            kind,
            f"image {image['image_id']}",
            f"{mask.sum()} of {len(boxes)}, the first (x1, y1, x2, y2) = {tuple(boxes[mask.argmax()].tolist())} "
            f"with score {scores[mask.argmax()]:g}; the image is {image['width']}x{image['height']}",
        )
        for kind, mask in wrong.items()
        if mask.any()
    ]


def _without_duplicate_and_tiny(boxes: np.ndarray) -> np.ndarray:
    """Indices of the boxes (R x 4, continuous XYXY, best first) that py-faster-rcnn keeps, in order."""
    inclusive = boxes - (0, 0, 1, 1)
    kept = np.sort(np.unique(np.round(inclusive), axis=0, return_index=True)[1])  # the first of each
    width, height = (inclusive[kept, 2:] - inclusive[kept, :2]).T
    return kept[(width >= 2) & (height > 2)]
