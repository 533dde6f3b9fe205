"""The region proposal network as it was trained: labels, loss and selection of proposals (paper 3.1, SPEC 4).

Network, sampling and the way through it are detectron2's ``RPN``; overridden is only where the paper differs.

Shape letters: N images, L levels, A anchors per cell, Hi x Wi cells of level i, R = sum of Hi * Wi * A anchors of an
image, B = 4. "t" and "t*" are the paper's predicted and target deltas (equation 2), "lambda", "N_cls" and "N_reg" those
of equation 1.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.box_regression import _dense_box_regression_loss
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage

from ..box_regression import build_box2box_transform
from ..precision import at_least_single
from .box_statistics import MeasuresAnchorStatistics
from .image_facts import current_image_facts
from .matching import NEGATIVE, POSITIVE, match_anchors
from .proposal_gradient import ProposalGradient
from .proposal_switches import ProposalSwitches
from .random_draw import draw_proposals
from .selection import empty_proposals, select_proposals

__all__ = ["FasterRCNNRPN"]

_NORMALIZERS = ("locations", "samples")
_STATISTICS = ("measured", "none")


@PROPOSAL_GENERATOR_REGISTRY.register()
class FasterRCNNRPN(MeasuresAnchorStatistics, RPN):
    """detectron2's ``RPN`` with the original programs' labels, loss and selection of proposals (SPEC 4.2 to 4.5).

    The smallest allowed proposal is measured in pixels of the original image, so this needs one of this package's meta
    architectures (``FasterRCNN``, ``FasterRCNNProposalNetwork``), which tell how much each image was enlarged, and
    which image it is. Under another one the images count as not resized, and random draws as of one image.
    """

    @configurable
    def __init__(
        self,
        *,
        bbox_reg_normalizer: str = "locations",
        proposals_in_training: bool = True,
        proposal_gradient: Optional[ProposalGradient] = None,
        switches: Optional[ProposalSwitches] = None,
        **kwargs: Any,
    ):
        """
        Args:
            bbox_reg_normalizer: N_reg of equation 1 (``MODEL.RPN.BBOX_REG_NORMALIZER``): "locations" is the number of
                cells of the feature map, with lambda = 10 as loss weight; "samples" the number of sampled anchors, with
                weight 1 (SPEC 4.4).
            proposals_in_training: whether proposals are decoded in training mode, or left empty because nobody uses
                them (``MODEL.RPN.PROPOSALS_IN_TRAINING``).
            proposal_gradient: how proposals pass a gradient on to the deltas in training (SPEC 7.2); None takes them
                for constants, which is the approximation of paper 3.2, ii (``MODEL.RPN.PROPOSAL_GRADIENT``).
            switches: what is taken out in test mode, for the paper's ablations (SPEC 8.1); None takes out nothing.
            kwargs: those of detectron2's ``RPN``. A ``box2box_transform`` that is a ``NormalizedBox2BoxTransform``
                makes the network work on normalised targets.

        Raises:
            ValueError: an unknown normaliser, or a limit on the number of proposals below 1.
        """
        super().__init__(**kwargs)
        if bbox_reg_normalizer not in _NORMALIZERS:
            raise ValueError(
                f"MODEL.RPN.BBOX_REG_NORMALIZER is {bbox_reg_normalizer!r}; it must be one of {_NORMALIZERS}."
            )
        for name, limits in (("PRE_NMS_TOPK", self.pre_nms_topk), ("POST_NMS_TOPK", self.post_nms_topk)):
            for training, limit in limits.items():
                if limit < 1:
                    raise ValueError(
                        f"MODEL.RPN.{name}_{'TRAIN' if training else 'TEST'} is {limit}; it must be at least 1. "
                        "A number above that of all anchors, such as 1000000, means no limit."
                    )
        self.bbox_reg_normalizer = bbox_reg_normalizer
        self.proposals_in_training = proposals_in_training
        self.proposal_gradient = proposal_gradient
        self.switches = switches or ProposalSwitches()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, Any]:
        ret = super().from_config(cfg, input_shape)
        statistics = cfg.MODEL.RPN.BBOX_REG_STATISTICS
        if statistics not in _STATISTICS:
            raise ValueError(f"MODEL.RPN.BBOX_REG_STATISTICS is {statistics!r}; it must be one of {_STATISTICS}.")
        ret["box2box_transform"] = build_box2box_transform(
            cfg.MODEL.RPN.BBOX_REG_WEIGHTS,
            decoding=cfg.MODEL.BBOX_DECODING,
            num_classes=1 if statistics == "measured" else None,
        )
        ret["bbox_reg_normalizer"] = cfg.MODEL.RPN.BBOX_REG_NORMALIZER
        ret["proposals_in_training"] = cfg.MODEL.RPN.PROPOSALS_IN_TRAINING
        ret["proposal_gradient"] = ProposalGradient.from_config(cfg)
        ret["switches"] = ProposalSwitches.from_config(cfg)
        return ret

    def _label_anchors(self, anchors: Boxes, instances: Instances) -> Tuple[torch.Tensor, torch.Tensor]:
        return match_anchors(
            anchors, instances.gt_boxes, instances.image_size, self.anchor_matcher, self.anchor_boundary_thresh
        )

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: List[Boxes], gt_instances: List[Instances]
    ) -> Tuple[List[torch.Tensor], List[torch.Tensor]]:
        """Label all anchors (SPEC 4.2), then keep a random sample of positives and negatives (SPEC 4.3).

        Args:
            anchors: L sets of anchors, in pixels of the network's input.
            gt_instances: ``gt_boxes`` of N images in the same frame; ``image_size`` is the input without padding.

        Returns:
            N label vectors, int8 (R,), 1 positive, 0 negative, -1 ignored or not sampled; and N tensors (R, 4) with the
            ground-truth boxes matched to the anchors, meaningful where the label is 1.
        """
        all_anchors = Boxes.cat(anchors)
        labels, matched_boxes = [], []
        for instances in gt_instances:
            image_labels, image_boxes = self._label_anchors(all_anchors, instances)
            labels.append(self._subsample_labels(image_labels))
            matched_boxes.append(image_boxes)
        return labels, matched_boxes

    def losses(
        self,
        anchors: List[Boxes],
        pred_objectness_logits: List[torch.Tensor],
        gt_labels: List[torch.Tensor],
        pred_anchor_deltas: List[torch.Tensor],
        gt_boxes: List[torch.Tensor],
    ) -> Dict[str, torch.Tensor]:
        """Equation 1 of the paper, for each image by itself and then averaged over the batch (SPEC 4.4).

        N_cls is the number of anchors sampled in the image, which is 256 unless the image has fewer candidates.

        Args:
            anchors: L sets of Hi*Wi*A anchors.
            pred_objectness_logits: L tensors of shape (N, Hi*Wi*A).
            gt_labels: N vectors of shape (R,) from `label_and_sample_anchors`.
            pred_anchor_deltas: L tensors of shape (N, Hi*Wi*A, 4), in normalised units if the transform has statistics.
            gt_boxes: N tensors of shape (R, 4) from `label_and_sample_anchors`.

        Returns:
            "loss_rpn_cls" and "loss_rpn_loc", scalars, times ``MODEL.RPN.LOSS_WEIGHT`` and, the latter, lambda
            (``MODEL.RPN.BBOX_REG_LOSS_WEIGHT``).
        """
        logits, deltas = (
            at_least_single(cat(levels, dim=1)) for levels in (pred_objectness_logits, pred_anchor_deltas)
        )
        all_anchors = Boxes.cat(anchors)
        num_locations = sum(len(a) // per_cell for a, per_cell in zip(anchors, self.anchor_generator.num_anchors))
        num_images = len(gt_labels)

        cls_losses, loc_losses, num_pos_anchors, num_neg_anchors = [], [], 0, 0
        for image_logits, image_deltas, labels, boxes in zip(logits, deltas, gt_labels, gt_boxes):
            positive, negative = labels == POSITIVE, labels == NEGATIVE
            sampled = positive | negative
            num_positive, num_negative = int(positive.sum()), int(negative.sum())
            num_sampled = max(num_positive + num_negative, 1)  # an image smaller than every anchor has none
            num_pos_anchors += num_positive
            num_neg_anchors += num_negative

            cls_loss = F.binary_cross_entropy_with_logits(
                image_logits[sampled], labels[sampled].to(image_logits.dtype), reduction="sum"
            )
            cls_losses.append(cls_loss / num_sampled)
            # Only the positive anchors go in: targets of all R anchors of every image would be made to be thrown away.
            loc_loss = _dense_box_regression_loss(
                [all_anchors[positive]],
                self.box2box_transform,
                [image_deltas[positive][None]],
                [boxes[positive]],
                positive.new_ones((1, num_positive)),
                box_reg_loss_type=self.box_reg_loss_type,
                smooth_l1_beta=self.smooth_l1_beta,
            )
            loc_losses.append(loc_loss / (num_locations if self.bbox_reg_normalizer == "locations" else num_sampled))

        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", num_pos_anchors / num_images)
        storage.put_scalar("rpn/num_neg_anchors", num_neg_anchors / num_images)
        losses = {"loss_rpn_cls": torch.stack(cls_losses).mean(), "loss_rpn_loc": torch.stack(loc_losses).mean()}
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def predict_proposals(
        self,
        anchors: List[Boxes],
        pred_objectness_logits: List[torch.Tensor],
        pred_anchor_deltas: List[torch.Tensor],
        image_sizes: List[Tuple[int, int]],
    ) -> List[Instances]:
        """Decode all anchors and select the proposals (SPEC 4.5); in test mode less of it, by `switches` (SPEC 8.1).

        They are constants (paper 3.2, ii), except in training with a `proposal_gradient`: then boxes have the graph of
        the deltas (paper 3.2, iii). Scores are constants in any case.

        Returns:
            N ``Instances`` with ``proposal_boxes`` and ``objectness_logits``, best first; empty ones in training mode
            with ``proposals_in_training`` off.

        Raises:
            FloatingPointError: a box or score is not finite in training.
        """
        if self.training and not self.proposals_in_training:
            return [empty_proposals(size, like=pred_objectness_logits[0]) for size in image_sizes]
        pred_anchor_deltas = [at_least_single(deltas) for deltas in pred_anchor_deltas]
        images = current_image_facts(len(image_sizes))
        switches = ProposalSwitches() if self.training else self.switches
        gradient = self.proposal_gradient if self.training and torch.is_grad_enabled() else None
        with torch.set_grad_enabled(gradient is not None):
            if not switches.regression:
                # Not the decoded zeros, which py-faster-rcnn's decoding would make a pixel larger than the anchors.
                boxes = [anchors_i.tensor.expand(len(image_sizes), -1, -1) for anchors_i in anchors]
            elif gradient is None:
                boxes = self._decode_proposals(anchors, pred_anchor_deltas)
            else:
                boxes = self._decode_proposals(anchors, gradient.clamped(pred_anchor_deltas))
                boxes = gradient.with_constants(boxes, anchors, image_sizes)
            number, smallest = self.post_nms_topk[self.training], self.min_box_size
            if not switches.ranking:
                draw = {"number": number, "seed": switches.random_draw_seed}
                return draw_proposals(boxes, image_sizes, images, min_box_size=smallest, **draw)
            return select_proposals(
                boxes,
                [at_least_single(logits.detach()) for logits in pred_objectness_logits],
                image_sizes,
                [image.scale for image in images],
                min_box_size=smallest,
                pre_nms_topk=self.pre_nms_topk[self.training],
                nms_thresh=self.nms_thresh if switches.nms else None,
                post_nms_topk=number,
                training=self.training,
            )
