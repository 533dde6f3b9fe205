"""Published proposals in MATLAB files: Selective Search (Girshick's, "IJCV"), COCO's, and those of the MATLAB release.

Their corners are 1-based and inclusive; here they become continuous, (x1 - 1, y1 - 1, x2, y2). Whole files of a data
set hold cell arrays with one cell an image; the others are folders with one file an image. A reader returns the names
of the images, and a function that reads the boxes of one of them, by its number in that list.

Shape letters: N images in the file, R boxes of one image, B = 4.
"""

from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..safe_matlab import checked_variables
from .proposal_set import ProposalSetError

__all__ = ["ImageReader", "read_image_folder", "read_release_rpn", "read_selective_search"]

Boxes = Tuple[np.ndarray, Optional[np.ndarray]]  # R x 4 float64, continuous; R scores, or None: the order is priority
ImageReader = Callable[[int], Boxes]  # from the number of an image in the file

XYXY, YXYX = (0, 1, 2, 3), (1, 0, 3, 2)  # the file's columns that are x1, y1, x2, y2


def _load(path: Path, variables: Sequence[str]) -> Dict[str, np.ndarray]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ProposalSetError(f"{path} is read by scipy, which is not installed: `pip install scipy`") from None
    try:
        names = checked_variables(path, variables)
        found = loadmat(str(path), variable_names=names) if names else {}
    except NotImplementedError:
        raise ProposalSetError(
            f"{path} is a MATLAB 7.3 (HDF5) file, which scipy does not read. Write it again in MATLAB: "
            "s = load('old.mat'); save('new.mat', '-struct', 's', '-v7')"
        ) from None
    except Exception as error:  # scipy has no one error for a damaged file
        raise ProposalSetError(f"{path} cannot be read as a MATLAB file: {error}") from error
    return {name: np.asarray(found[name]) for name in variables if name in found}


def _continuous(raw: np.ndarray, columns: Sequence[int], scored: bool, where: str) -> Boxes:
    """1-based inclusive corners in `columns`, and a column of scores after them if `scored`, as an ImageReader does."""
    width = 5 if scored else 4
    if raw.size == 0:  # MATLAB's empty cell is 0 x 0
        raw = np.zeros((0, width))
    if raw.ndim != 2 or raw.shape[1] != width or raw.dtype.kind not in "fiu":
        raise ProposalSetError(f"{where}: R x {width} numbers expected, got {raw.dtype} of shape {raw.shape}")
    values = raw.astype(np.float64)  # files hold double, single or uint16, in which 0 - 1 would be 65535
    boxes = values[:, list(columns)] - (1, 1, 0, 0)
    return boxes, values[:, 4] if scored else None


def _cells(arrays: Dict[str, np.ndarray], variable: str, path: Path) -> np.ndarray:
    if variable not in arrays:
        raise ProposalSetError(f"{path} has no variable `{variable}`")
    cells = arrays[variable]
    if cells.dtype != object:
        raise ProposalSetError(
            f"{path}: `{variable}` is no cell array with one cell an image, but {cells.dtype} of shape {cells.shape}; "
            "if it holds the boxes of one image, give the folder of such files and their format"
        )
    return cells.ravel()


def _names(arrays: Dict[str, np.ndarray], path: Path, count: int) -> List[str]:
    names = [str(np.asarray(cell).item()) for cell in _cells(arrays, "images", path) if np.asarray(cell).size == 1]
    if len(names) != count:
        raise ProposalSetError(f"{path}: `images` has {len(names)} names, and there are boxes of {count} images")
    return names


def read_selective_search(path: Path) -> Tuple[List[str], ImageReader]:
    """Girshick's ``selective_search_data/<imdb>.mat`` (R-CNN, Fast R-CNN, py-faster-rcnn, the MATLAB release).

    Cell arrays `boxes` (R x 4 each; y1, x1, y2, x2) and `images` (ids). The order is a pseudo-random priority: there
    are no scores. Source: SPEC 9.

    Raises:
        ProposalSetError: it is not such a file, or scipy is missing.
    """
    arrays = _load(path, ["boxes", "images"])
    cells = _cells(arrays, "boxes", path)
    names = _names(arrays, path, len(cells))

    def read(number: int) -> Boxes:
        return _continuous(cells[number], YXYX, False, f"{path}: `boxes` of image {names[number]}")

    return names, read


def read_image_folder(path: Path, columns: Sequence[int]) -> Tuple[List[str], ImageReader]:
    """A folder, also a nested one, with ``<image>.mat`` for each image: a matrix `boxes` (R x 4), best first.

    Source: SPEC 9. "IJCV" Selective Search and Hosang's COCO files have the columns XYXY, those of the MCG site YXYX.

    Raises:
        ProposalSetError: there are no such files, one is something else, or scipy is missing.
    """
    files = sorted(path.rglob("*.mat"))
    if not files:
        raise ProposalSetError(f"{path} has to be a folder with a .mat file for each image")

    def read(number: int) -> Boxes:
        file = files[number]
        arrays = _load(file, ["boxes"])
        if "boxes" not in arrays:
            raise ProposalSetError(f"{file} has no variable `boxes`")
        return _continuous(arrays["boxes"], columns, False, f"{file}: `boxes`")

    return [file.stem for file in files], read


def read_release_rpn(path: Path) -> Tuple[List[Optional[str]], ImageReader]:
    """RPN proposals of the MATLAB release: left, top, right, bottom, confidence (SPEC 9).

    What it publishes is described by these columns alone. Its code saves a cell array `aboxes` (as MATLAB 7.3, which
    has to be written again) without names: they are None here, the images are those of the data set in order. `boxes`
    with `images`, the form in which it hands proposals on, is read too.

    Raises:
        ProposalSetError: it is not such a file, or scipy is missing.
    """
    arrays = _load(path, ["aboxes", "boxes", "images"])
    variable = "aboxes" if "aboxes" in arrays else "boxes"
    cells = _cells(arrays, variable, path)
    names = _names(arrays, path, len(cells)) if "images" in arrays else [None] * len(cells)

    def read(number: int) -> Boxes:
        return _continuous(cells[number], XYXY, True, f"{path}: cell {number + 1} of `{variable}`")

    return names, read
