"""How much disk a run will need at most, and whether there is so much: known before anything is computed.

Counted are checkpoints (network and momentum, two at a time while one is replaced), each step's network, proposal sets
(images x proposals x 20 bytes, twice where those of flipped images are recomputed), detections, and logs with metrics.
An RPN may find fewer proposals than it is allowed, so that the need is an upper limit.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import nn

from ..data import load_dataset_dicts
from .defaults import ConfigError
from .manifest import GIVEN
from .network import RPN
from .schedule import Schedule, WholeNetwork
from .step import recomputes_flipped_images
from .world_size import number_of_processes

__all__ = ["DiskNeed", "bytes_of_network", "check_disk", "disk_of_run", "disk_of_training"]
__all__ += ["memory_of_proposals", "require_disk_for_checkpoints", "require_disk_for_sets"]

logger = logging.getLogger(__name__)

BYTES_PER_PROPOSAL = 20  # four coordinates and a score, in single precision
_PER_IMAGE_IN_INDEX = 80  # of a proposal set: its id and its number of boxes
_INDEX_IN_MEMORY = 512  # the same, in memory, while parts are merged (benchmarks/results/proposal_memory.md)
_PER_TENSOR = 1000  # of a checkpoint: headers, names, and the optimizer's options for it
_PER_DETECTION, _PER_IMAGE_DETECTED, _BEST = 60, 1000, 100  # lines of detections.jsonl
_PER_COCO_DETECTION = 400  # detectron2's COCO evaluator writes all of them, twice
_PER_ITERATION = 250  # metrics, TensorBoard events (once more for the whole run) and log; written every 20 iterations
_REPORT = 6_000_000  # the page and its pictures, logs of the start


@dataclass(frozen=True)
class DiskNeed:
    """The most that a run's files take at one time, in bytes.

    Attributes:
        peak: all together, at the time when it is most.
        networks: what is left of checkpoints and networks at the end.
        proposals: what is left of proposal sets.
    """

    peak: int
    networks: int
    proposals: int


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"


def bytes_of_network(model: nn.Module) -> Dict[str, int]:
    """What the tensors of a model take in a file: each component's and, as "momentum", those of its optimizer.

    Args:
        model: may be on the meta device.
    """
    sizes: Dict[str, int] = {}
    for name, tensor in model.state_dict().items():
        component = name.split(".")[0]
        sizes[component] = sizes.get(component, 0) + tensor.numel() * tensor.element_size() + _PER_TENSOR
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sizes["momentum"] = sum(p.numel() * p.element_size() + _PER_TENSOR for p in trained)
    return sizes


def _proposal_set_bytes(images: int, proposals: int) -> int:
    """What a proposal set takes with so many proposals of each image."""
    return images * (proposals * BYTES_PER_PROPOSAL + _PER_IMAGE_IN_INDEX) + 2000


def _images(names: Sequence[str]) -> List[int]:
    return [len(load_dataset_dicts(name)) for name in names]


def _detections(cfg: CfgNode) -> int:
    size = 0
    for name, images in zip(cfg.DATASETS.TEST, _images(cfg.DATASETS.TEST)):
        size += images * (_BEST * _PER_DETECTION + _PER_IMAGE_DETECTED)
        if MetadataCatalog.get(name).get("evaluator_type", "coco") == "coco":
            size += images * cfg.TEST.DETECTIONS_PER_IMAGE * _PER_COCO_DETECTION
    return size


def _sets_of_step(cfg: CfgNode, flipped: bool) -> List[int]:
    """The proposal sets that an RPN step leaves."""
    names = [*dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)), *(cfg.DATASETS.TRAIN if flipped else ())]
    return [_proposal_set_bytes(images, cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK) for images in _images(names)]


def disk_of_training(cfg: CfgNode, sizes: Mapping[str, int], iterations: int) -> DiskNeed:
    """Of one training, by what `bytes_of_network` says of its model; it is evaluated at the end."""
    checkpoint = sum(sizes.values())
    rest = iterations * _PER_ITERATION + _REPORT + _detections(cfg)
    return DiskNeed(2 * checkpoint + rest, checkpoint, 0)


def disk_of_run(
    cfg: CfgNode, schedule: Schedule, entries: Sequence[Mapping[str, Any]], left_out: Sequence[str] = ()
) -> DiskNeed:
    """Of a schedule.

    Args:
        cfg: the run's config; its data sets can be loaded.
        schedule: its schedule.
        entries: of the plan, one for each step, with "bytes" as `bytes_of_network` has them.
        left_out: names of steps that leave nothing.
    """
    peak = networks = proposals = 0
    of_step = {entry["name"]: entry for entry in entries}
    for step in schedule.steps:
        entry = of_step[step.name]
        if step.name in left_out:
            continue
        given = entry["state"] == GIVEN
        checkpoint = sum(size for name, size in entry["bytes"].items() if not (given and name == "momentum"))
        peak = max(peak, networks + proposals + (1 if given else 2) * checkpoint)
        networks += checkpoint
        if step.makes_proposals:
            sets = _sets_of_step(cfg, recomputes_flipped_images(cfg) and schedule.is_trained_on(step.name))
            parts = max(sets, default=0) if number_of_processes() > 1 else 0  # of each process, then of all together
            if cfg.TEST.EVAL_PERIOD > 0:
                parts = max(parts, 2 * max(_sets_of_step(cfg, False), default=0))
            proposals += sum(sets)
            peak = max(peak, networks + proposals + parts)
    if not any(name in left_out for name in schedule.assembly.values()):
        networks += _assembled(schedule.assembly, of_step)
        after = _detections(cfg)
        if schedule.network == RPN:
            after = sum(
                2 * _proposal_set_bytes(images, cfg.MODEL.RPN.POST_NMS_TOPK_TEST)
                for images in _images(cfg.DATASETS.TEST)
            )
        peak = max(peak, networks + proposals + after)
    iterations = sum(entry["max_iter"] for entry in entries if entry["name"] not in left_out)
    return DiskNeed(peak + iterations * _PER_ITERATION + _REPORT, networks, proposals)


def _assembled(assembly: Mapping[str, Union[str, WholeNetwork]], of_step: Mapping[str, Mapping[str, Any]]) -> int:
    size = 0
    for component, name in assembly.items():
        sizes = of_step[str(name)]["bytes"]
        whole = sum(size for part, size in sizes.items() if part != "momentum")
        size += whole if isinstance(name, WholeNetwork) else sizes.get(component.split(".")[0], whole)
    return size


def memory_of_proposals(cfg: CfgNode, schedule: Schedule) -> List[str]:
    """What the plan says of the memory that proposals take, nothing if no step has any."""
    if not any(step.makes_proposals or step.proposals_from for step in schedule.steps):
        return []
    images = sum(_images([*dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))]))
    return [
        "memory: proposals are written and read image by image; what is in memory of them, in each process, is their "
        f"index, up to {_gib(images * _INDEX_IN_MEMORY)} for {images} images."
    ]


def _taken(folder: str) -> int:
    """What the files in a folder take, which the run goes on with or replaces."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_size
            except OSError:  # gone meanwhile
                continue
    return size


def _free(folder: str) -> Optional[int]:
    """Free bytes of the file system that `folder` is, or will be, on; None if nobody knows."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check_disk(need: DiskNeed, folder: str, keys: str) -> Dict[str, List[str]]:
    """Compare what a run needs with what there is.

    Args:
        need: of the run.
        folder: its OUTPUT_DIR.
        keys: by which it can be made to need less, in words.

    Returns:
        "told": what the plan says of it; "problems": that it is too much, or nothing.
    """
    taken, free = _taken(folder), _free(folder)
    told = f"disk: up to {_gib(need.peak)} in {folder}; at the end {_gib(need.networks)} of networks"
    told += f" and {_gib(need.proposals)} of proposals" if need.proposals else ""
    if free is None:
        return {"told": [told], "problems": []}
    told += f". {_gib(free)} are free" + (f", and {_gib(taken)} there already" if taken else "")
    problems = []
    if comm.is_main_process() and need.peak - taken > free:
        problems.append(
            f"The run needs up to {_gib(need.peak - taken)} more on the disk of OUTPUT_DIR {folder}, where "
            f"{_gib(free)} are free: make room, name another OUTPUT_DIR, or {keys}."
        )
    return {"told": [f"{told}."], "problems": problems}


def _require(need: DiskNeed, folder: str, what: str, mend: str) -> None:
    disk = check_disk(need, folder, mend)
    if disk["problems"]:
        problem = disk["problems"][0].replace("The run", what).replace("another OUTPUT_DIR", "another --output")
        raise ConfigError(problem.replace("OUTPUT_DIR ", ""))
    logger.info("%s", disk["told"][0])


def require_disk_for_sets(images: Sequence[int], boxes: int, folder: str) -> None:
    """See whether proposal sets fit on the disk: all of them, and the largest once more in parts.

    Args:
        images: of each set.
        boxes: at most so many of an image.
        folder: of the sets.

    Raises:
        ConfigError: they do not.
    """
    sets = [_proposal_set_bytes(number, boxes) for number in images]
    _require(DiskNeed(sum(sets) + max(sets), 0, sum(sets)), folder, "This", "take fewer boxes of an image")


def require_disk_for_checkpoints(model: nn.Module, folder: str) -> None:
    """See whether two checkpoints of a training fit on the disk.

    Raises:
        ConfigError: they do not.
    """
    checkpoint = sum(bytes_of_network(model).values())
    _require(DiskNeed(2 * checkpoint, checkpoint, 0), folder, "Pre-training", "cut the network down")
