"""Proposals that need no training, of every image of a data set: on several cores, resumable, telling the time left.

The methods are :class:`.SelectiveSearch` and :class:`.EdgeBoxes`. What comes out does not depend on the number of
processes, nor on where a run was cut.
"""

import concurrent.futures
import contextlib
import datetime
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Dict, Generator, Iterator, List, Optional, Tuple, Union

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import check_image_size, read_image
from detectron2.utils.logger import log_every_n_seconds

from .edge_boxes import EdgeBoxes
from .opencv import import_opencv
from .proposal_set import PathLike, ProposalSet, ProposalSetError
from .resumable import PartsWriter, ResumableSet
from .selective_search import SelectiveSearch

__all__ = ["compute_from_pixels", "number_of_cores"]

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_REPORTS = 10

_LARGE = 1_500_000  # pixels: the time of Selective Search grows faster than they do
_AHEAD = 4  # images for each process that are handed out at once

Method = Union[SelectiveSearch, EdgeBoxes]
Proposals = Tuple[np.ndarray, np.ndarray]
Image = Dict[str, Any]


def number_of_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compute_from_pixels(
    method: Method,
    dataset_name: str,
    path: PathLike,
    dataset_dicts: Optional[List[Image]] = None,
    *,
    processes: int = 1,
    overwrite: bool = False,
) -> ProposalSet:
    """Write the boxes of `method` for every image of a data set as a proposal set, or go on where a run was cut.

    An image without a box has an empty entry; how many there are is told. A set that is there and is the one asked for
    (method, settings, images) is returned as it is.

    Args:
        method: its settings are noted in the set's metadata.
        dataset_name: a registered data set, or any name if `dataset_dicts` are given.
        path: folder of the proposal set.
        dataset_dicts: detectron2 dicts with "file_name" and unique "image_id"; from the DatasetCatalog if None.
        processes: that search images at the same time, 1 for this one alone.
        overwrite: see :class:`.ResumableSet`.

    Raises:
        ProposalSetError: OpenCV's contrib module is missing, an image cannot be read (what was done before is kept),
            there is another set at `path`, or the data set is empty.
    """
    dicts = DatasetCatalog.get(dataset_name) if dataset_dicts is None else dataset_dicts
    resumable = ResumableSet(path, dataset_name, dicts, method.settings(), overwrite=overwrite)
    if resumable.finished is not None:
        logger.info(f"Proposals of {dataset_name}: finished already, {path}")
        return resumable.finished
    method.prepare()
    missing = resumable.missing()
    if len(missing) < len(dicts):
        logger.info(f"Proposals of {dataset_name}: {len(dicts) - len(missing)} of {len(dicts)} images are done already")
    _warn_of_large_images(method, missing)
    start = time.perf_counter()
    about = {"opencv": import_opencv().__version__}
    with PartsWriter(resumable, about) as writer, _searching(method, missing, processes) as results:
        for done, (image, (boxes, scores)) in enumerate(results, start=1):
            writer.add(image["image_id"], boxes, scores)
            _report(dataset_name, done, len(missing), time.perf_counter() - start)
    proposals = resumable.merge()
    seconds = time.perf_counter() - start
    logger.info(
        f"Proposals of {dataset_name}: {len(missing)} images in {seconds:.1f} s with {processes} processes, "
        f"{proposals.num_boxes / len(proposals):.1f} boxes an image, written to {path}"
    )
    without = [image_id for image_id in proposals if not len(proposals[image_id][1])]
    if without:
        logger.warning(
            f"Proposals of {dataset_name}: {len(without)} images have not a single box: "
            f"{', '.join(without[:5])}{', ...' if len(without) > 5 else ''}"
        )
    return proposals


def _report(name: str, done: int, images: int, seconds: float) -> None:
    if seconds >= SECONDS_BETWEEN_REPORTS:  # earlier, the time left would be a guess
        left = datetime.timedelta(seconds=int(seconds / done * (images - done)))
        text = f"Proposals of {name}: {done}/{images} images, {seconds / done:.3f} s an image, {left} left"
        log_every_n_seconds(logging.INFO, text, n=SECONDS_BETWEEN_REPORTS, name=__name__)


def _warn_of_large_images(method: Method, images: List[Image]) -> None:
    if not isinstance(method, SelectiveSearch) or method.width:
        return
    large = [image for image in images if image.get("width", 0) * image.get("height", 0) > _LARGE]
    if large:
        first = large[0]
        logger.warning(
            f"{len(large)} images have more than {_LARGE / 1e6:g} million pixels, e.g. {first['file_name']} with "
            f"{first['width']}x{first['height']}: minutes and gigabytes each; --width 500 searches them smaller"
        )


def _propose(method: Method, image: Image) -> Proposals:
    """Read and search one image.

    Raises:
        ProposalSetError: either failed; it names the image and its file.
    """
    try:
        pixels = read_image(image["file_name"], format="BGR")
        check_image_size(dict(image), pixels)
        return method(pixels, str(image["image_id"]))
    except ProposalSetError:
        raise
    except Exception as error:  # of a reader or of a C++ library: anything
        raise ProposalSetError(
            f"image {image['image_id']}, {image['file_name']}, cannot be searched: {type(error).__name__}: {error}. "
            "What is done is kept: mend or remove it, and give the same command again."
        ) from error


@contextlib.contextmanager
def _searching(method: Method, images: List[Image], processes: int) -> Iterator[Iterator[Tuple[Image, Proposals]]]:
    """A context whose value yields (image, its proposals), whichever are found first."""
    processes = min(processes, len(images))
    if processes <= 1:
        yield ((image, _propose(method, image)) for image in images)
        return
    context = multiprocessing.get_context("forkserver")  # a fork of this process might inherit a lock that is held
    context.set_forkserver_preload([__name__])
    pool = concurrent.futures.ProcessPoolExecutor(processes, context, _begin_process)
    results = _as_found(pool.submit, method, images, processes * _AHEAD)
    try:
        yield results
    finally:
        results.close()  # so that no image is begun any more
        pool.shutdown(wait=True)


def _as_found(
    submit: Callable[..., Any], method: Method, images: List[Image], ahead: int
) -> Generator[Tuple[Image, Proposals], None, None]:
    """Keep `ahead` images handed out; one that takes long keeps no other from being written down."""
    waiting: Dict[Any, Image] = {}
    left = iter(images)
    try:
        while True:
            for image in itertools.islice(left, ahead - len(waiting)):
                waiting[submit(_propose, method, image)] = image
            if not waiting:
                return
            done = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED).done
            for future in sorted(done, key=lambda one: one.exception() is not None):  # what was found is kept first
                found = future.result()
                yield waiting.pop(future), found
    except BrokenProcessPool:
        names = ", ".join(str(one["image_id"]) for one in waiting.values())
        raise ProposalSetError(
            f"a process that searched one of the images {names} was killed; if nobody did that, the memory is at its "
            "end: take fewer --processes. What is done is kept: the same command goes on."
        ) from None
    finally:
        for future in waiting:
            future.cancel()


def _begin_process() -> None:
    """What a process of the pool does first: leave Ctrl-C to its parent, and end with it however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
