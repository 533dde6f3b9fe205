"""The Fast R-CNN part: detectron2's ``StandardROIHeads`` with the paper's pooling, statistics and background rule.

Shape letters: N images, R regions of an image, M objects of an image, K classes.
"""

from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import Boxes, Instances, pairwise_iou

from ..box_regression import BoxRegressionStatistics
from .fast_rcnn import FasterRCNNOutputLayers
from .pooler import FasterRCNNROIPooler
from .proposal_graph import have_graph, numbered, with_graph_of
from .pyramid_pooler import PyramidROIPooler

__all__ = ["FasterRCNNROIHeads"]


@ROI_HEADS_REGISTRY.register()
class FasterRCNNROIHeads(StandardROIHeads):
    """``StandardROIHeads`` whose box branch is that of the paper (section 3.2, SPEC 5).

    What is different: the corners that RoI max pooling is given, per-class statistics of the box targets, a limit of
    boxes per class before NMS, images without objects (see ``_sample_proposals``), proposals that are part of the
    graph (see ``label_and_sample_proposals``), and any number of them at test (see ``_forward_box``). Everything else,
    from matching to masks, is detectron2's.

    Args:
        boxes_per_chunk_test: regions of an image that are pooled at a time, at test.
        kwargs: of ``StandardROIHeads``.

    Raises:
        ValueError: `boxes_per_chunk_test` is below 1.
    """

    @configurable
    def __init__(self, *, boxes_per_chunk_test: int = 4096, **kwargs: Any):
        super().__init__(**kwargs)
        if boxes_per_chunk_test < 1:
            raise ValueError(f"MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST is {boxes_per_chunk_test}; it must be 1 or more.")
        self.boxes_per_chunk_test = boxes_per_chunk_test

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, Any]:
        arguments = super().from_config(cfg, input_shape)
        return {**arguments, "boxes_per_chunk_test": cfg.MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST}

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, Any]:
        stock_cfg = cfg.clone()  # its pooler is replaced, and could not be of our own type
        stock_cfg.defrost()
        stock_cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIPool"
        arguments = super()._init_box_head(stock_cfg, input_shape)
        pooler_class = PyramidROIPooler if cfg.MODEL.PYRAMID.SIZES_TEST else FasterRCNNROIPooler
        arguments["box_pooler"] = pooler_class(
            output_size=cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION,
            scales=tuple(1.0 / input_shape[name].stride for name in arguments["box_in_features"]),
            sampling_ratio=cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO,
            pooler_type=cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE,
            inclusive_corners=cfg.MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS,
            round_corners=cfg.MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS,
            **({"canonical_box_size": cfg.MODEL.PYRAMID.CANONICAL_BOX_SIZE} if cfg.MODEL.PYRAMID.SIZES_TEST else {}),
        )
        arguments["box_predictor"] = FasterRCNNOutputLayers(cfg, arguments["box_head"].output_shape)
        return arguments

    def _sample_proposals(
        self, matched_idxs: torch.Tensor, matched_labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Sample as detectron2 does, but obey the matcher in an image without objects.

        There every IoU is 0. That is background only where the background's range begins at 0; the paper's [0.1, 0.5)
        leaves such an image without regions, where detectron2 would take all of them for background (SPEC 5.2).
        """
        if len(gt_classes) == 0 and (matched_labels == -1).all():
            nothing = matched_idxs[:0]
            return nothing, nothing
        return super()._sample_proposals(matched_idxs, matched_labels, gt_classes)

    def label_and_sample_proposals(self, proposals: List[Instances], targets: List[Instances]) -> List[Instances]:
        """As detectron2, which samples without gradients; but boxes that came with a graph keep it (SPEC 7.2).

        Matching, sampling and labels are piecewise constant and have none; neither have appended ground-truth boxes.
        """
        if not have_graph(proposals):
            return super().label_and_sample_proposals(proposals, targets)
        return with_graph_of(proposals, super().label_and_sample_proposals(*numbered(proposals, targets)))

    def _forward_box(
        self, features: Dict[str, torch.Tensor], proposals: List[Instances]
    ) -> Union[Dict[str, torch.Tensor], List[Instances]]:
        """As detectron2; at test, more regions than `boxes_per_chunk_test` go through the box head part by part.

        What a region gets does not depend on the others, up to the rounding of sums.
        """
        size, most = self.boxes_per_chunk_test, max((len(image) for image in proposals), default=0)
        if self.training or most <= size:
            return super()._forward_box(features, proposals)
        maps = [features[name] for name in self.box_in_features]
        parts: List[List[Tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in proposals]  # of each image
        for start in range(0, most, size):
            chunk = [image.proposal_boxes[start : start + size] for image in proposals]
            scores, deltas = self.box_predictor(self.box_head(self.box_pooler(maps, chunk)))
            lengths = [len(boxes) for boxes in chunk]
            for part, *of_image in zip(parts, scores.split(lengths), deltas.split(lengths)):
                part.append(tuple(of_image))
        predictions = tuple(torch.cat(tensors) for tensors in zip(*(pair for part in parts for pair in part)))
        return self.box_predictor.inference(predictions, proposals)[0]

    def new_box_statistics(self, add_mirror_images: bool = True) -> Optional[BoxRegressionStatistics]:
        """An empty accumulator for ``update_box_statistics``; None if the config has fixed statistics.

        Args:
            add_mirror_images: every region counts with its mirror image; off where flipped images are handed over too.
        """
        if not self.box_predictor.has_box_statistics:
            return None
        return self.box_predictor.box2box_transform.new_statistics(add_mirror_images)

    @torch.no_grad()
    def update_box_statistics(
        self,
        statistics: BoxRegressionStatistics,
        proposals: List[Union[Instances, Boxes]],
        targets: List[Instances],
    ) -> None:
        """Count the regression targets of all foreground regions of a batch: no sampling (SPEC 5.3).

        Args:
            statistics: of ``new_box_statistics``; changed.
            proposals: N times R regions, as boxes or as instances with ``proposal_boxes``.
            targets: N times M objects with ``gt_boxes`` and ``gt_classes`` in the same frame. Which frame does not
                matter: targets are relative to the size of the region. The objects count as regions themselves if
                MODEL.ROI_HEADS.PROPOSAL_APPEND_GT.

        Raises:
            ValueError: `proposals` and `targets` are of different numbers of images.
        """
        if len(proposals) != len(targets):
            raise ValueError(f"proposals of {len(proposals)} images and objects of {len(targets)}")
        for regions, objects in zip(proposals, targets):
            if len(objects) == 0:
                continue
            boxes = regions.proposal_boxes if isinstance(regions, Instances) else regions
            if self.proposal_append_gt:
                boxes = Boxes.cat([boxes, objects.gt_boxes])
            matches, labels = self.proposal_matcher(pairwise_iou(objects.gt_boxes, boxes))
            foreground = labels == 1
            matches = matches[foreground]
            statistics.update(boxes.tensor[foreground], objects.gt_boxes.tensor[matches], objects.gt_classes[matches])

    def set_box_statistics(self, mean: Union[torch.Tensor, np.ndarray], std: Union[torch.Tensor, np.ndarray]) -> None:
        """Normalise box targets by these, each (K, 4), or (1, 4) if class-agnostic; they go into the state dict.

        Raises:
            ValueError: the config has fixed statistics, or the values do not fit.
        """
        if not self.box_predictor.has_box_statistics:
            raise ValueError('MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS is "fixed": there are no statistics to set')
        self.box_predictor.box2box_transform.set_statistics(mean, std)
