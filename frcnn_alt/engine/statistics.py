"""The pass over the training set that measures the mean and std of the box regression targets (SPEC 4.4, 5.3).

Both alternating programs normalise their targets so. The measuring itself (which boxes count, flipped twins) is the
components'; this module hands them every training image once. No image is decoded: boxes and sizes suffice.
"""

import copy
import logging
from typing import Any, Dict, List, Mapping

import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import annotations_to_instances, transform_instance_annotations
from detectron2.structures import Boxes, Instances
from detectron2.utils.logger import log_every_n_seconds
from torch import nn

from ..modeling.box_regression import NormalizedBox2BoxTransform
from ..proposals import ProposalSet
from .defaults import ConfigError

__all__ = ["measure_proposal_statistics", "measure_region_statistics"]

logger = logging.getLogger(__name__)


def _ground_truth(image: Dict[str, Any], transform: T.Transform, size: tuple) -> Instances:
    annotations = [
        transform_instance_annotations(copy.deepcopy(annotation), transform, size)
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
    statistics = rpn.box2box_transform.new_statistics()
    # Several training scales: the first stands for all; targets are relative to the anchor's size.
    resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TRAIN[0]] * 2, cfg.INPUT.MAX_SIZE_TRAIN)
    for done, image in enumerate(dicts, start=1):
        # A view without memory of its own: only the size of the image matters here.
        blank = torch.zeros(1, 1, 1, dtype=torch.uint8).expand(image["height"], image["width"], 3).numpy()
        transform = resize.get_transform(blank)
        size = (int(transform.new_h), int(transform.new_w)) if hasattr(transform, "new_h") else blank.shape[:2]
        rpn.update_box_statistics(statistics, [_ground_truth(image, transform, size)])
        log_every_n_seconds(logging.INFO, f"Measuring RPN targets: image {done} of {len(dicts)}", n=10, name=__name__)
    if statistics.num_samples == 0:
        raise ConfigError(
            f"None of {len(dicts)} training images has a positive anchor, so the RPN would learn nothing (anchors that "
            f"cross an image's border do not count). MODEL.ANCHOR_GENERATOR.SIZES {cfg.MODEL.ANCHOR_GENERATOR.SIZES} "
            f"must be smaller, or INPUT.MIN_SIZE_TRAIN {tuple(cfg.INPUT.MIN_SIZE_TRAIN)} larger."
        )
    rpn.set_box_statistics(*statistics.finish())


def measure_region_statistics(
    model: nn.Module, dicts: List[Dict[str, Any]], proposal_sets: Mapping[str, ProposalSet], topk: int
) -> None:
    """Measure each class's mean and std (K x 4) over all training RoIs with IoU >= 0.5 and set them in the RoI heads.

    Args:
        model: a detector whose ``roi_heads`` is a FasterRCNNROIHeads.
        dicts: the training images, with "dataset_name".
        proposal_sets: data set name -> its proposals.
        topk: proposals used per image, as in training.

    Raises:
        ConfigError: no region of any image is foreground.
    """
    new_statistics = getattr(model.roi_heads, "new_box_statistics", lambda: None)
    statistics = new_statistics()
    if statistics is None:
        return  # fixed normalisation, or another project's heads
    for done, image in enumerate(dicts, start=1):
        size = (image["height"], image["width"])
        boxes, scores = proposal_sets[image["dataset_name"]][image["image_id"]]
        proposals = Instances(size)
        proposals.proposal_boxes = Boxes(torch.from_numpy(boxes[:topk]))
        proposals.objectness_logits = torch.from_numpy(scores[:topk])
        proposals.proposal_boxes.clip(size)
        proposals = proposals[proposals.proposal_boxes.nonempty()]
        model.roi_heads.update_box_statistics(statistics, [proposals], [_ground_truth(image, T.NoOpTransform(), size)])
        log_every_n_seconds(logging.INFO, f"Measuring box targets: image {done} of {len(dicts)}", n=10, name=__name__)
    if statistics.num_samples == 0:
        raise ConfigError(
            f"None of {len(dicts)} training images has a region that overlaps an object enough to be foreground "
            "(MODEL.ROI_HEADS.IOU_THRESHOLDS): are these proposals of this data set?"
        )
    model.roi_heads.set_box_statistics(*statistics.finish())
