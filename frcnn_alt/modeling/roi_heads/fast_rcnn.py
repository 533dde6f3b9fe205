"""Class scores and box deltas of regions: detectron2's layers with per-class box statistics and the test cut-off.

Shape letters: N images, R regions over all images, Ri regions of image i, K classes (background is column K), B = 4.
"""

from typing import Any, Dict, List, Tuple, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from detectron2.structures import Instances
from fvcore.nn import smooth_l1_loss

from ..box_regression import NormalizedBox2BoxTransform, build_box2box_transform
from ..precision import at_least_single
from .candidate_scores import report_candidate_scores
from .proposal_graph import as_constants, have_graph

__all__ = ["FasterRCNNOutputLayers", "keep_highest_scores_of_each_class"]


def keep_highest_scores_of_each_class(scores: torch.Tensor, count: int, dropped_score: float) -> torch.Tensor:
    """Replace all but the `count` highest scores of each foreground class by `dropped_score`.

    Args:
        scores: (Ri, K + 1); the last column, the background, is left as it is.
        count: scores of a class that stay.
        dropped_score: what the others become.

    Returns:
        (Ri, K + 1), a new tensor.
    """
    foreground = scores[:, :-1]
    if len(foreground) <= count:
        return scores.clone()
    highest = foreground.topk(count, dim=0)
    kept = torch.full_like(foreground, dropped_score).scatter(0, highest.indices, highest.values)
    return torch.cat([kept, scores[:, -1:]], dim=1)


class FasterRCNNOutputLayers(FastRCNNOutputLayers):
    """``FastRCNNOutputLayers`` that knows box statistics by class and a limit of boxes before NMS.

    cls_score and bbox_pred start as in the original programs, N(0, 0.01) and N(0, 0.001), which detectron2's do.

    Args:
        input_shape: of a region's features.
        box2box_transform: ``NormalizedBox2BoxTransform`` with K rows (1 if class-agnostic), or a
            ``Box2BoxTransform`` for fixed statistics.
        pre_nms_topk_per_class: at test, boxes of a class in an image that enter NMS; -1 is no limit (SPEC 5.4).
        detach_targets: whether the box loss takes regions for constants that come with a graph (SPEC 7.2).
        kwargs: of ``FastRCNNOutputLayers``.

    Raises:
        ValueError: statistics of a number of classes that does not fit; statistics with a loss on boxes, which has
            no normalised targets.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: Union[Box2BoxTransform, NormalizedBox2BoxTransform],
        pre_nms_topk_per_class: int = -1,
        detach_targets: bool = True,
        **kwargs: Any,
    ):
        super().__init__(input_shape, box2box_transform=box2box_transform, **kwargs)
        self.pre_nms_topk_per_class = pre_nms_topk_per_class
        self.detach_targets = detach_targets
        self.has_box_statistics = isinstance(box2box_transform, NormalizedBox2BoxTransform)
        if self.has_box_statistics:
            regressors = self.bbox_pred.out_features // 4
            if len(box2box_transform.mean) != regressors:
                raise ValueError(
                    f"box regression statistics of {len(box2box_transform.mean)} classes for {regressors} regressors"
                )
            if self.box_reg_loss_type != "smooth_l1":
                raise ValueError(
                    f"MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE is {self.box_reg_loss_type}, but per-class statistics "
                    'normalise the targets of "smooth_l1" only: use that, or set BBOX_REG_STATISTICS to "fixed"'
                )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> Dict[str, Any]:
        arguments = super().from_config(cfg, input_shape)
        statistics = cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS
        if statistics not in ("per_class", "fixed"):
            raise ValueError(
                f'MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS must be "per_class" or "fixed", got "{statistics}"'
            )
        regressors = 1 if arguments["cls_agnostic_bbox_reg"] else arguments["num_classes"]
        arguments["box2box_transform"] = build_box2box_transform(
            cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS,
            decoding=cfg.MODEL.BBOX_DECODING,
            num_classes=regressors if statistics == "per_class" else None,
        )
        arguments["pre_nms_topk_per_class"] = cfg.MODEL.ROI_HEADS.PRE_NMS_TOPK_PER_CLASS_TEST
        arguments["detach_targets"] = cfg.MODEL.ROI_BOX_HEAD.DETACH_TARGETS
        return arguments

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """(R, C) features to scores (R, K + 1) and deltas (R, 4K), or (R, 4); in single precision at least."""
        scores, deltas = super().forward(x)
        return at_least_single(scores), at_least_single(deltas)

    def losses(
        self, predictions: Tuple[torch.Tensor, torch.Tensor], proposals: List[Instances]
    ) -> Dict[str, torch.Tensor]:
        """detectron2's losses, which refuse regions that have a graph; here such regions may come in (SPEC 7.2).

        Their gradient goes by way of the predictions. The target t*(region, object) is a function of the region too;
        it is a constant, as in MNC, unless `detach_targets` is off.
        """
        if not have_graph(proposals):
            return super().losses(predictions, proposals)
        losses = super().losses(predictions, as_constants(proposals))
        if not self.detach_targets:
            regions = cat([image.proposal_boxes.tensor for image in proposals])
            # An image without objects has background regions alone, which have no target.
            objects = cat(
                [image.get("gt_boxes" if image.has("gt_boxes") else "proposal_boxes").tensor for image in proposals]
            )
            loss = self.box_reg_loss(regions, objects, predictions[1], cat([image.gt_classes for image in proposals]))
            losses["loss_box_reg"] = loss * self.loss_weight.get("loss_box_reg", 1.0)
        return losses

    def box_reg_loss(
        self,
        proposal_boxes: torch.Tensor,
        gt_boxes: torch.Tensor,
        pred_deltas: torch.Tensor,
        gt_classes: torch.Tensor,
    ) -> torch.Tensor:
        """Smooth L1 over the four normalised deltas of the foreground regions, divided by R (SPEC 5.3).

        Args:
            proposal_boxes: (R, 4) XYXY, continuous network pixels.
            gt_boxes: (R, 4), any value where a region is background.
            pred_deltas: (R, 4K), or (R, 4) if class-agnostic, in normalised units.
            gt_classes: (R,) in [0, K]; K is background.
        """
        if not self.has_box_statistics:
            return super().box_reg_loss(proposal_boxes, gt_boxes, pred_deltas, gt_classes)
        foreground = ((gt_classes >= 0) & (gt_classes < self.num_classes)).nonzero().flatten()
        classes = gt_classes[foreground]
        regressors = pred_deltas.shape[1] // 4
        columns = classes if regressors > 1 else torch.zeros_like(classes)
        predicted = pred_deltas.reshape(len(pred_deltas), regressors, 4)[foreground, columns]
        target = self.box2box_transform.get_deltas(proposal_boxes[foreground], gt_boxes[foreground], classes)
        loss = smooth_l1_loss(predicted, target, self.smooth_l1_beta, reduction="sum")
        return loss / max(gt_classes.numel(), 1)

    def inference(
        self, predictions: Tuple[torch.Tensor, torch.Tensor], proposals: List[Instances]
    ) -> Tuple[List[Instances], List[torch.Tensor]]:
        """Detections of each image, as detectron2's, after keeping the best of each class (MATLAB, SPEC 5.4).

        The scores that enter NMS are reported to ``collect_candidate_scores``.
        """
        scores = self.predict_probs(predictions, proposals)
        if self.pre_nms_topk_per_class >= 0:
            dropped_score = min(self.test_score_thresh, 0.0) - 1.0  # below whatever threshold comes next
            scores = [
                keep_highest_scores_of_each_class(scores_of_image, self.pre_nms_topk_per_class, dropped_score)
                for scores_of_image in scores
            ]
        report_candidate_scores(scores, self.test_score_thresh)
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            scores,
            [proposals_of_image.image_size for proposals_of_image in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )
