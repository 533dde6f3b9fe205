"""The detector's backbone, RoI pooler and fc6, fc7 as an image classifier, which is how their weights are pre-trained.

The whole image is one region, so fc6 learns from what the detector's own pooler gives it.

Shapes: N images of (3, S, S) pixels; K classes; fc7 gives D features.
"""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import build_backbone, build_roi_heads
from detectron2.structures import Boxes
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.nn import functional as F

from .mean_image import MeanImage, check_channels, read_mean_image

__all__ = ["BackboneClassifier"]


class BackboneClassifier(nn.Module):
    """Backbone -> RoI pooling of the whole image -> box head -> linear classifier.

    The names of its parameters in ``detector_state_dict`` are those of the detector.

    Args:
        backbone: a detectron2 backbone.
        box_pooler: pools (N images' feature maps, a box each) to (N, C, P, P).
        box_head: (N, C, P, P) -> (N, D); has ``output_shape``.
        in_features: names of the feature maps that are pooled.
        num_classes: K, background included where the data has it.
        pixel_mean, pixel_std: one number a channel, as in MODEL.PIXEL_MEAN and PIXEL_STD.
        mean_image: H x W x C as from ``read_mean_image``, subtracted in place of `pixel_mean`, resized to the images as
            the detector does.

    Raises:
        ValueError: the mean image has other channels than the input.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        box_pooler: nn.Module,
        box_head: nn.Module,
        in_features: List[str],
        num_classes: int,
        pixel_mean: List[float],
        pixel_std: List[float],
        mean_image: Optional[np.ndarray] = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.in_features = in_features
        self.classifier = nn.Linear(box_head.output_shape.channels, num_classes)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        if mean_image is not None:
            check_channels(mean_image, pixel_mean)
        self.mean_image = None if mean_image is None else MeanImage(mean_image)
        nn.init.normal_(self.classifier.weight, std=self.classifier.in_features**-0.5)
        nn.init.zeros_(self.classifier.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, num_classes: int) -> Dict[str, Any]:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.BACKBONE.FREEZE_AT = 0  # what detection keeps fixed must be learnt here
        backbone = build_backbone(cfg)
        roi_heads = build_roi_heads(cfg, backbone.output_shape())
        if not (hasattr(roi_heads, "box_pooler") and hasattr(roi_heads, "box_head")):
            raise ValueError(
                f"MODEL.ROI_HEADS.NAME {cfg.MODEL.ROI_HEADS.NAME} has no box_pooler and box_head to pre-train; "
                "pre-training is for ROI heads built like FasterRCNNROIHeads or StandardROIHeads"
            )
        path = cfg.MODEL.PIXEL_MEAN_IMAGE
        return {
            "backbone": backbone,
            "box_pooler": roi_heads.box_pooler,
            "box_head": roi_heads.box_head,
            "in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "num_classes": num_classes,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "mean_image": read_mean_image(path, cfg.INPUT.FORMAT) if path else None,
        }

    def forward(self, batch: Tuple[torch.Tensor, torch.Tensor]) -> Dict[str, torch.Tensor]:
        """Return {"loss_cls": cross entropy} of images (N, 3, S, S) uint8 and classes (N,); logs the accuracy."""
        images, labels = (tensor.to(self.pixel_mean.device) for tensor in batch)
        logits = self.logits(images)
        if self.training:
            accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
            get_event_storage().put_scalar("accuracy", accuracy)
        return {"loss_cls": F.cross_entropy(logits, labels)}

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (N, K) of images (N, 3, S, S), 0 to 255 in the detector's channel order."""
        images = images.to(self.pixel_mean.device)
        if self.mean_image is None:
            centred = images.float() - self.pixel_mean
        else:
            (centred,) = self.mean_image([images])
        features = self.backbone(centred / self.pixel_std)
        height, width = images.shape[-2:]
        whole = [Boxes(images.new_tensor([[0, 0, width, height]], dtype=torch.float32)) for _ in images]
        pooled = self.box_pooler([features[name] for name in self.in_features], whole)
        return self.classifier(self.box_head(pooled))

    def detector_state_dict(self) -> Dict[str, torch.Tensor]:
        """The tensors that the detector takes over, under the detector's names, on the CPU."""
        parts = {"backbone.": self.backbone, "roi_heads.box_head.": self.box_head}
        return {
            prefix + name: tensor.detach().cpu().clone()
            for prefix, part in parts.items()
            for name, tensor in part.state_dict().items()
        }
