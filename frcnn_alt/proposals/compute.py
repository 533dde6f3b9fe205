"""Run a region proposal network over every image of a data set and write its proposals as a proposal set.

This is what stands between an RPN step and a Fast R-CNN step (paper section 3.2, SPEC 6.2): the RPN in test mode, on
the images of the training (and test) splits at the test scale, or on their mirror images too, as in the MATLAB release
(SPEC 4.5). detectron2 has no such writer for data sets that are not COCO json files.
"""

import datetime
import glob
import logging
import shutil
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds

from ..data.loader import build_test_loader
from ..data.unreadable import UnreadableImage, UnreadableImages
from ..modeling.proposal_generator import ProposalSwitches
from .proposal_set import PathLike, ProposalSet, ProposalSetError
from .proposal_set_writer import ProposalSetWriter, merge_proposal_sets

__all__ = ["compute_proposals", "has_settings", "proposal_settings"]

SECONDS_BETWEEN_REPORTS = 10

# Of sets from before there was a choice, which do not tell.
_EARLIER_SETTINGS = {"nms": True, "ranking": True, "regression": True}


def proposal_settings(cfg: CfgNode, flipped: bool) -> Dict[str, Any]:
    """What a set's metadata tell, besides the model's name, of how its proposals were chosen."""
    switches = ProposalSwitches.from_config(cfg)
    return {
        "flipped_images": flipped,
        "pre_nms_topk": cfg.MODEL.RPN.PRE_NMS_TOPK_TEST,
        "nms_threshold": cfg.MODEL.RPN.NMS_THRESH,
        "post_nms_topk": cfg.MODEL.RPN.POST_NMS_TOPK_TEST,
        "smallest_side": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
        "image_sizes": [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST],
        "nms": switches.nms,
        "ranking": switches.ranking,
        "regression": switches.regression,
        "random_draw_seed": None if switches.ranking else switches.random_draw_seed,
    }


def has_settings(proposals: ProposalSet, cfg: CfgNode, flipped: bool) -> bool:
    """Whether, by the metadata of a set, its proposals were chosen as `cfg` asks for."""
    # The smallest side of sets that do not tell it is among what the hash of their step was made of.
    earlier = {**_EARLIER_SETTINGS, "smallest_side": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE}
    return all(
        proposals.metadata.get(key, earlier.get(key)) == value for key, value in proposal_settings(cfg, flipped).items()
    )


def compute_proposals(
    cfg: CfgNode,
    model: torch.nn.Module,
    dataset_name: str,
    path: PathLike,
    dataset_dicts: Optional[List[Dict[str, Any]]] = None,
    *,
    flipped: bool = False,
    extra_metadata: Optional[Dict[str, Any]] = None,
    unreadable: Optional[UnreadableImages] = None,
) -> ProposalSet:
    """Write the proposals of `model` for every image of a data set, also of those without annotations.

    Images go through the test transforms of `cfg`, one at a time. How many proposals survive is the model's own
    setting (SPEC 4.5: for training a Fast R-CNN all anchors -> NMS 0.7 -> 2000). With several processes, which must
    see the same file system, each takes a share of the images and the first one puts the parts together in data set
    order; every process has to call this.

    Args:
        cfg: INPUT.* and DATALOADER.* are used; `proposal_settings` are noted in the set's metadata.
        model: a ProposalNetwork; its training mode is as before afterwards.
        dataset_name: a registered data set, or any name if `dataset_dicts` are given.
        path: folder of the proposal set; it replaces one that is there when it is complete.
        dataset_dicts: detectron2 dicts with unique "image_id"; read from the DatasetCatalog if None.
        flipped: show the model each image flipped horizontally, as in training. The boxes are written mirrored back:
            every set then holds boxes of the original images, so that a mapper that flips an image flips the boxes of
            either set with it, by the same stock transform.
        extra_metadata: what else the set's metadata are to tell.
        unreadable: counts images that cannot be read, where `dataset_dicts` are a part of a data set.

    Returns:
        The set that was written: XYXY boxes in continuous pixels of the original images, objectness logits as scores.

    With DATALOADER.UNREADABLE_IMAGES "skip" an image that cannot be read gets no proposals.

    Raises:
        DatasetError: an image cannot be read, and is not to be skipped.
        ProposalSetError: the data set is empty, the model gives no proposals, or gives NaN for an image.
    """
    if dataset_dicts is None:
        dataset_dicts = DatasetCatalog.get(dataset_name)
    if not dataset_dicts:
        raise ProposalSetError(f"data set {dataset_name} has no images: there is nothing to compute proposals of")
    path = Path(path)
    start = time.perf_counter()
    augmentations = build_augmentation(cfg, is_train=False) + ([T.RandomFlip(prob=1.0)] if flipped else [])
    mapper = DatasetMapper(cfg, is_train=False, augmentations=augmentations)
    what = f"{dataset_name}, flipped" if flipped else dataset_name
    metadata = {"model": type(model).__name__, **proposal_settings(cfg, flipped), **(extra_metadata or {})}
    processes = comm.get_world_size()
    parts = [path.with_name(f"{path.name}.process{rank}") for rank in range(processes)]
    own_path = parts[comm.get_rank()] if processes > 1 else path
    with ProposalSetWriter(own_path, dataset_name, metadata) as writer, inference_context(model), torch.no_grad():

        def write_none(image: UnreadableImage) -> None:
            writer.add(image.image_id, (), ())

        loader = build_test_loader(cfg, dataset_dicts, mapper, write_none, unreadable)
        _write_proposals(model, loader, writer, flipped, what, start)
    if processes > 1:
        comm.synchronize()
        if comm.is_main_process():
            merge_proposal_sets(parts, path, [d["image_id"] for d in dataset_dicts], metadata)
            for part in path.parent.glob(f"{glob.escape(path.name)}.process*"):  # also of a cut run that had more
                shutil.rmtree(part)
        comm.synchronize()
    proposals = ProposalSet(path)
    logging.getLogger(__name__).info(
        f"Proposals of {what}: {len(proposals)} images in {time.perf_counter() - start:.1f} s, "
        f"{proposals.num_boxes / len(proposals):.1f} boxes an image, written to {path}"
    )
    return proposals


def _mirror(boxes: torch.Tensor, width: int) -> np.ndarray:
    return T.HFlipTransform(width).apply_box(boxes.cpu().numpy())


def _write_proposals(
    model: torch.nn.Module, loader: Any, writer: ProposalSetWriter, flipped: bool, what: str, start: float
) -> None:
    for done, inputs in enumerate(loader, start=1):
        for image, output in zip(inputs, model(inputs)):
            if "proposals" not in output:
                raise ProposalSetError(
                    f"the model {type(model).__name__} gives {sorted(output)} instead of proposals: build it with "
                    "MODEL.META_ARCHITECTURE FasterRCNNProposalNetwork or ProposalNetwork"
                )
            proposals = output["proposals"]
            boxes = proposals.proposal_boxes.tensor
            boxes = _mirror(boxes, image["width"]) if flipped else boxes
            writer.add(image["image_id"], boxes, proposals.objectness_logits)
        seconds = time.perf_counter() - start
        if seconds >= SECONDS_BETWEEN_REPORTS:  # earlier, the time left would be a guess
            left = datetime.timedelta(seconds=int(seconds / done * (len(loader) - done)))
            log_every_n_seconds(
                logging.INFO,
                f"Proposals of {what}: {done}/{len(loader)} images, {seconds / done:.3f} s an image, {left} left",
                n=SECONDS_BETWEEN_REPORTS,
                name=__name__,
            )
