"""The pass over the training set that measures the mean and std of the box regression targets (SPEC 4.4, 5.3).

Both alternating programs normalise their targets so. The measuring itself (which boxes count, mirror images) is the
components'; this module hands them every training image. No image is decoded: boxes and sizes suffice.
"""

import contextlib
import logging
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import (
    annotations_to_instances,
    transform_instance_annotations,
    transform_proposals,
)
from detectron2.structures import BoxMode, Instances
from detectron2.utils.logger import log_every_n_seconds
from torch import nn

from ..modeling.box_regression import NormalizedBox2BoxTransform
from ..proposals import ProposalSet, leave_out_crowds
from .defaults import ConfigError

__all__ = ["ground_truth", "learns_deltas", "measure_proposal_statistics", "measure_region_statistics"]
__all__ += ["resized_to_train"]

logger = logging.getLogger(__name__)

_BOX_KEYS = ("bbox", "bbox_mode", "category_id")  # masks and keypoints do not matter here


# The layer of each component that gives box deltas, in networks that call it as detectron2's do.
_DELTA_LAYERS = {"proposal_generator": "rpn_head.anchor_deltas", "roi_heads": "box_predictor.bbox_pred"}


def learns_deltas(model: nn.Module, component: str) -> bool:
    """Whether the layer of `component` that gives box deltas is trained; a frozen one keeps what it learnt with."""
    part = getattr(model, component, None)
    if part is None:
        return False
    with contextlib.suppress(AttributeError):  # of another name: any layer of the component counts
        part = part.get_submodule(_DELTA_LAYERS[component])
    return any(parameter.requires_grad for parameter in part.parameters())


def resized_to_train(cfg: CfgNode, image: Dict[str, Any]) -> Tuple[T.Transform, Tuple[int, int]]:
    """How training resizes an image of the data set, and its (height, width) in the network's input.

    Several training scales: the first stands for all; targets are relative to the region's size.
    """
    resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TRAIN[0]] * 2, cfg.INPUT.MAX_SIZE_TRAIN)
    # A view without memory of its own: only the size of the image matters here.
    blank = torch.zeros(1, 1, 1, dtype=torch.uint8).expand(image["height"], image["width"], 3).numpy()
    transform = resize.get_transform(blank)
    size = (int(transform.new_h), int(transform.new_w)) if hasattr(transform, "new_h") else blank.shape[:2]
    return transform, size


def ground_truth(image: Dict[str, Any], transform: T.Transform, size: Tuple[int, int]) -> Instances:
    """The objects of an image of the data set but for crowds, after `transform`; `size` is (height, width) then."""
    annotations = [
        transform_instance_annotations({key: annotation[key] for key in _BOX_KEYS}, transform, size)
        for annotation in image["annotations"]
        if not annotation.get("iscrowd", 0)
    ]
    instances = annotations_to_instances(annotations, size)
    return instances[instances.gt_boxes.nonempty()]


def measure_proposal_statistics(cfg: CfgNode, model: nn.Module, dicts: List[Dict[str, Any]]) -> None:
    """Measure one mean and std (1 x 4) over the positive anchors of all training images and set them in the RPN.

    Args:
        cfg: reads INPUT.MIN_SIZE_TRAIN, MAX_SIZE_TRAIN: anchors live in network-input pixels.
        model: a proposal network whose ``proposal_generator`` is a FasterRCNNRPN.
        dicts: the training images.

    Raises:
        ConfigError: no anchor of any image is positive.
    """
    rpn = model.proposal_generator
    if not isinstance(getattr(rpn, "box2box_transform", None), NormalizedBox2BoxTransform):
        return  # raw targets, or another project's proposal generator
    statistics = rpn.new_box_statistics()
    for done, image in enumerate(dicts, start=1):
        transform, size = resized_to_train(cfg, image)
        rpn.update_box_statistics(statistics, [ground_truth(image, transform, size)])
        log_every_n_seconds(logging.INFO, f"Measuring RPN targets: image {done} of {len(dicts)}", n=10, name=__name__)
    if statistics.num_samples == 0:
        raise ConfigError(
            f"None of {len(dicts)} training images has a positive anchor, so the RPN would learn nothing (anchors that "
            f"cross an image's border do not count). MODEL.ANCHOR_GENERATOR.SIZES {cfg.MODEL.ANCHOR_GENERATOR.SIZES} "
            f"must be smaller, or INPUT.MIN_SIZE_TRAIN {tuple(cfg.INPUT.MIN_SIZE_TRAIN)} larger."
        )
    rpn.set_box_statistics(*statistics.finish())


def _proposals(
    image: Dict[str, Any], proposals: ProposalSet, transform: T.Transform, size: tuple, topk: int, crowd_thresh: float
) -> Instances:
    """What training makes of the stored proposals of an image."""
    boxes, scores = proposals[image["image_id"]]
    if crowd_thresh >= 0:
        boxes, scores = leave_out_crowds(boxes, scores, image, crowd_thresh, topk)
    record = {"proposal_boxes": boxes, "proposal_objectness_logits": scores, "proposal_bbox_mode": BoxMode.XYXY_ABS}
    transform_proposals(record, size, transform, proposal_topk=topk)
    return record["proposals"]


def measure_region_statistics(
    model: nn.Module,
    dicts: List[Dict[str, Any]],
    proposal_sets: Mapping[str, ProposalSet],
    topk: int,
    flipped_proposal_sets: Optional[Mapping[str, ProposalSet]] = None,
    crowd_thresh: float = -1.0,
) -> None:
    """Measure each class's mean and std (K x 4) over all training RoIs with IoU >= 0.5 and set them in the RoI heads.

    Training RoIs are those of the images and of their mirror images (SPEC 5.3).

    Args:
        model: a detector whose ``roi_heads`` is a FasterRCNNROIHeads.
        dicts: the training images, with "dataset_name".
        proposal_sets: data set name -> its proposals.
        topk: proposals used per image, as in training.
        flipped_proposal_sets: data set name -> proposals of its flipped images, in coordinates of the image that is not
            flipped; without them, those of the images count a second time, mirrored.
        crowd_thresh: DATASETS.PROPOSAL_CROWD_THRESH, as in training.

    Raises:
        ConfigError: no region of any image is foreground.
    """
    if not hasattr(model.roi_heads, "new_box_statistics"):
        return  # another project's heads
    statistics = model.roi_heads.new_box_statistics(add_mirror_images=flipped_proposal_sets is None)
    if statistics is None:
        return  # fixed normalisation
    for done, image in enumerate(dicts, start=1):
        size = (image["height"], image["width"])
        versions = [(proposal_sets, T.NoOpTransform())]
        if flipped_proposal_sets is not None:
            versions.append((flipped_proposal_sets, T.HFlipTransform(image["width"])))
        for sets, transform in versions:
            proposals = _proposals(image, sets[image["dataset_name"]], transform, size, topk, crowd_thresh)
            model.roi_heads.update_box_statistics(statistics, [proposals], [ground_truth(image, transform, size)])
        log_every_n_seconds(logging.INFO, f"Measuring box targets: image {done} of {len(dicts)}", n=10, name=__name__)
    if statistics.num_samples == 0:
        raise ConfigError(
            f"None of {len(dicts)} training images has a region that overlaps an object enough to be foreground "
            "(MODEL.ROI_HEADS.IOU_THRESHOLDS): are these proposals of this data set?"
        )
    model.roi_heads.set_box_statistics(*statistics.finish())
