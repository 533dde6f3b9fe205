#!/usr/bin/env python
"""How much memory the proposals of a large data set take: written, merged, read by loader workers, evaluated.

The boxes are generated, so that no network is needed; what handles them is the package's own writer, merge, reader and
recall. Each phase is a process of its own, and its memory is the most that the system counted for it (VmHWM), of which
the data set's own dictionaries, which detectron2 keeps in every training, are told apart.

    python benchmarks/proposal_memory.py --images 10000 40000 120000 --boxes 2000 --folder /a/disk/with/room

writes a Markdown table to the standard output, and removes its sets: 120000 images of 2000 boxes are 4.8 GB, of which
there are two, the parts and what is merged of them, for a while.

Shape letters: R boxes of one image, B = 4.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

import frcnn_alt  # noqa: F401  before detectron2, which it mends
from frcnn_alt.data.loader import begin_worker
from frcnn_alt.engine.machine import describe_machine, describe_versions
from frcnn_alt.evaluation.recall import proposal_recall
from frcnn_alt.proposals import ProposalSet, ProposalSetWriter
from frcnn_alt.proposals.proposal_set_writer import merge_proposal_sets

import numpy as np
from torch.utils.data import DataLoader, Dataset

NAME, WIDTH, HEIGHT = "generated", 640, 480
PARTS = 4  # as of four processes
WORKERS = 4
READ_BY_WORKERS = 20000  # images


def generated(number: int, boxes: int) -> tuple:
    """(R x 4 boxes, R scores) of image `number`."""
    rng = np.random.default_rng(number)
    corners = rng.random((boxes, 4), np.float32) * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    return np.concatenate([low, high], axis=1), rng.standard_normal(boxes, np.float32)


def image_id(number: int) -> str:
    return f"{number:012d}"  # as COCO's file names


def ground_truth(number: int) -> Dict[str, Any]:
    """A detectron2 dict with seven objects, as many as COCO's images have."""
    rng = np.random.default_rng([number, 1])
    corners = np.sort(rng.random((7, 2, 2)) * [WIDTH, HEIGHT], axis=1).reshape(7, 4)
    objects = [{"bbox": box.tolist(), "bbox_mode": 0, "category_id": 0} for box in corners]
    return {"image_id": image_id(number), "width": WIDTH, "height": HEIGHT, "annotations": objects}


def memory(key: str = "VmHWM") -> float:
    """The most that this process has taken so far, in MiB; "RssAnon" and so on what it takes now."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{key}:")) / 1024


class Images(Dataset):
    """Reads the proposals of one image, as the mapper of a training does."""

    def __init__(self, path: str, numbers: List[int]):
        self.proposals, self.numbers = ProposalSet(path), numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple:
        boxes, scores = self.proposals[image_id(self.numbers[place])]
        return boxes[:2000].sum(), len(scores), os.getpid(), memory()


def write_parts(folder: str, images: int, boxes: int) -> Dict[str, float]:
    for part in range(PARTS):
        with ProposalSetWriter(f"{folder}/part{part}", NAME) as writer:
            for number in range(part, images, PARTS):
                writer.add(image_id(number), *generated(number, boxes))
    return {}


def merge(folder: str, images: int, boxes: int) -> Dict[str, float]:
    parts = [f"{folder}/part{part}" for part in range(PARTS)]
    merge_proposal_sets(parts, f"{folder}/set", [image_id(number) for number in range(images)])
    for part in parts:
        shutil.rmtree(part)
    return {}


def open_index(folder: str, images: int, boxes: int) -> Dict[str, float]:
    proposals = ProposalSet(f"{folder}/set")
    assert len(proposals) == images and proposals.num_boxes == images * boxes
    return {}


def read_at_random(folder: str, images: int, boxes: int) -> Dict[str, float]:
    """The parent's memory, and the largest of its workers'."""
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than there are cores
    numbers = np.random.default_rng(0).permutation(images)[:READ_BY_WORKERS].tolist()
    loader = DataLoader(
        Images(f"{folder}/set", numbers),
        num_workers=WORKERS,
        batch_size=None,
        worker_init_fn=begin_worker,
        multiprocessing_context="fork",  # as in a training; this process itself was started anew
    )
    of_worker: Dict[int, float] = {}
    for _, count, pid, most in loader:
        assert count == boxes
        of_worker[pid] = max(of_worker.get(pid, 0.0), most)
    assert len(of_worker) == WORKERS
    return {"worker": max(of_worker.values())}


def verify(folder: str, images: int, boxes: int) -> Dict[str, float]:
    ProposalSet(f"{folder}/set").verify()
    return {}


def recall(folder: str, images: int, boxes: int) -> Dict[str, float]:
    """The dictionaries of the ground truth are what the process has before; they grow, in any training."""
    dicts = [ground_truth(number) for number in range(images)]
    before = memory("VmRSS")
    proposal_recall(ProposalSet(f"{folder}/set"), dicts, limits=(300, boxes))
    return {"dicts": before}


PHASES: List[Callable[[str, int, int], Dict[str, float]]] = [
    write_parts,
    merge,
    open_index,
    read_at_random,
    verify,
    recall,
]


def _measured(phase: Callable[..., Dict[str, float]], arguments: tuple, results: Any) -> None:
    began, before = time.perf_counter(), memory()
    about = phase(*arguments)
    results.put({"before": before, "peak": memory(), "seconds": time.perf_counter() - began, **about})


def measure(phase: Callable[..., Dict[str, float]], *arguments: Any) -> Dict[str, float]:
    """Run a phase in a process of its own, freshly started: a forked one would begin with its parent's memory."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measured, args=(phase, arguments, results))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{phase.__name__} failed")
    return results.get()


def row(phase: str, images: int, result: Dict[str, float]) -> str:
    extra = f"largest worker {result['worker']:.0f}" if "worker" in result else ""
    extra = f"of it before, with the dictionaries, {result['dicts']:.0f}" if "dicts" in result else extra
    return (
        f"| {images} | {phase.replace('_', ' ')} | {result['before']:.0f} | {result['peak']:.0f} | "
        f"{1024 * (result['peak'] - result['before']) / images:.2f} | {extra} | {result['seconds']:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10000, 40000, 120000])
    parser.add_argument("--boxes", type=int, default=2000, help="of an image (default: %(default)s)")
    parser.add_argument("--folder", required=True, help="for the sets; what is made there is removed")
    args = parser.parse_args()
    need = 2 * max(args.images) * args.boxes * 20
    os.makedirs(args.folder, exist_ok=True)
    if shutil.disk_usage(args.folder).free < 1.1 * need:
        parser.error(f"--folder {args.folder} has no room for {need / 1e9:.1f} GB: take fewer --boxes")
    print(json.dumps({**describe_machine(), **describe_versions()}))
    print("\n| images | phase | MiB before | peak MiB | KiB more an image | besides | seconds |")
    print("|---|---|---|---|---|---|---|")
    for images in args.images:
        folder = Path(args.folder) / f"proposal_memory_{images}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            for phase in PHASES:
                print(row(phase.__name__, images, measure(phase, str(folder), images, args.boxes)), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
