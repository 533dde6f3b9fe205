"""Fixtures that all rooms share: small VOC-layout folders, real photographs where they lie, catalogs of one's own."""

import logging
import os
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, Optional, Sequence, Tuple

import frcnn_alt  # noqa: F401

import pytest
import torch
from hypothesis import settings

# isort: split
# detectron2 only after frcnn_alt, which mends it for today's packages
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger
from voc_files import voc_annotation, write_image

torch.set_num_threads(1)  # the tests' tensors are tiny: threads only wait for each other

# The same examples in every run, so that a change is judged by what it changed. HYPOTHESIS_PROFILE=search draws others
# and more of them: run it now and then, and after a change to a rule.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def voc_folder(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a VOC-layout folder below tmp_path and returns it.

    Args of the function:
        images: image id -> objects, each (name, xmin, ymin, xmax, ymax) or with a sixth value, difficult.
        name: of the folder.
        splits: split -> image ids; default: trainval and test have all of them.
        classes: lines of CLASSES.txt; None writes no such file.
        size: (width, height) of every image.
        extension: of the image files.
    """

    def write(
        images: Dict[str, Iterable[Sequence]],
        *,
        name: str = "tiny",
        splits: Optional[Dict[str, Sequence[str]]] = None,
        classes: Optional[Sequence[str]] = None,
        size: Tuple[int, int] = (60, 40),
        extension: str = ".jpg",
    ) -> Path:
        root = tmp_path / name
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        for seed, (image_id, objects) in enumerate(images.items()):
            write_image(root / "JPEGImages" / f"{image_id}{extension}", size, seed)
            (root / "Annotations" / f"{image_id}.xml").write_text(voc_annotation(objects, size))
        for split, image_ids in (splits or {"trainval": list(images), "test": list(images)}).items():
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{i}\n" for i in image_ids))
        if classes is not None:
            (root / "CLASSES.txt").write_text("".join(f"{c}\n" for c in classes))
        return root

    return write


@pytest.fixture
def own_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    """detectron2's global catalogs as they are now for this test alone: what it registers is forgotten after it."""
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.setattr(catalog, "data", dict(catalog.data))


def _forget_setup_logger() -> None:
    """Take back all that setup_logger did, in whatever test or fixture of a wider scope."""
    for name in ("detectron2", "fvcore", "frcnn_alt"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    setup_logger.cache_clear()


@pytest.fixture(autouse=True)
def own_loggers() -> Iterator[None]:
    """No test starts with, or leaves behind, the loggers that a run sets up with detectron2's setup_logger.

    They log everything, past caplog, to the output that pytest had given to one test.
    """
    _forget_setup_logger()
    yield
    _forget_setup_logger()


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function that returns the folder of a real data set ("bccd", "cards"), or skips the test where it is not."""

    def find(name: str) -> Path:
        root = Path(os.environ.get("FRCNN_ALT_DATA") or REPOSITORY.parent / "shared" / "data")
        if not (root / name).is_dir():
            pytest.skip(f"no data set {name} in {root}; FRCNN_ALT_DATA names the folder that holds it")
        return root / name

    return find
