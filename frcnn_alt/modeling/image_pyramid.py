"""An image seen at several sizes at test time, each region at the size that suits it (Fast R-CNN, SPEC 10.3).

The network's input is shrunk (or enlarged) to every size, and the backbone runs on each of them. In place of a feature
map there is then a pyramid of maps, which ``PyramidROIPooler`` pools from. In training an image is shown at one of the
sizes, by detectron2's own INPUT.MIN_SIZE_TRAIN.

Shape letters: N images, S sizes, C channels, Hs x Ws cells of the map at size s.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import ImageList, Instances
from torch import nn
from torch.nn import functional as F

from .proposal_generator import current_image_facts, original_size

__all__ = ["FeaturePyramid", "ImagePyramid", "SeesImagePyramid"]

Backbone = Callable[[torch.Tensor], Dict[str, torch.Tensor]]


@dataclass
class FeaturePyramid:
    """One feature of the same N images at S sizes.

    Attributes:
        levels: S maps (N, C, Hs, Ws).
        scales: S lists of N (horizontal, vertical): pixels of the image at this size per pixel of the network's input.
    """

    levels: List[torch.Tensor]
    scales: List[List[Tuple[float, float]]]


class ImagePyramid:
    """Resizes the network's input, its mean subtracted, to every size and runs a backbone on each.

    The originals resize images without their mean as well. A size should look as if the original had been resized to it
    (by Pillow, as in training): where the original is larger, shrinking the input is antialiased; where the input is an
    enlarged original, it is not, because that would blur once more.

    Args:
        sizes: S shorter sides, in pixels.
        max_size: longest allowed side.
        size_divisibility: of the backbone; sides of a batch are padded to a multiple of it.

    Raises:
        ValueError: no size, or one below 1.
    """

    def __init__(self, sizes: Sequence[int], max_size: int, size_divisibility: int = 0):
        if not sizes or min(*sizes, max_size) < 1:
            raise ValueError(
                f"MODEL.PYRAMID.SIZES_TEST is {tuple(sizes)} and INPUT.MAX_SIZE_TEST {max_size}: they take shorter "
                "sides and the longest allowed one, in pixels."
            )
        self.sizes = tuple(sizes)
        self.max_size = max_size
        self.size_divisibility = size_divisibility

    def features(
        self, backbone: Backbone, images: ImageList, features_of_input: Optional[Dict[str, torch.Tensor]] = None
    ) -> Dict[str, FeaturePyramid]:
        """Return every feature that `backbone` gives of N images, at S sizes.

        Args:
            backbone: (N, 3, H, W) -> feature name -> (N, C, Hs, Ws).
            images: the network's input, of any size; by ``image_facts`` it is known how large the originals were, of
                which an image at a size has the aspect ratio.
            features_of_input: what `backbone` gives of `images`, to be used for a size that is theirs.
        """
        facts = current_image_facts(len(images))
        originals = [original_size(size, one.scale) for size, one in zip(images.image_sizes, facts)]
        features: List[Dict[str, torch.Tensor]] = []
        scales: List[List[Tuple[float, float]]] = []
        for side in self.sizes:
            sizes = [ResizeShortestEdge.get_output_shape(*original, side, self.max_size) for original in originals]
            scales.append([(new[1] / old[1], new[0] / old[0]) for new, old in zip(sizes, images.image_sizes)])
            if features_of_input is not None and sizes == [tuple(size) for size in images.image_sizes]:
                features.append(features_of_input)
            else:
                features.append(backbone(self._resized(images, sizes, originals).tensor))
        return {name: FeaturePyramid([level[name] for level in features], scales) for name in features[0]}

    def _resized(self, images: ImageList, sizes: List[Tuple[int, int]], originals: List[Tuple[int, int]]) -> ImageList:
        resized = []
        for n, (size, original) in enumerate(zip(sizes, originals)):
            image = images[n][None]  # without its padding
            options = {"mode": "bilinear", "align_corners": False, "antialias": size[0] < original[0]}
            resized.append(F.interpolate(image, size=size, **options)[0])
        return ImageList.from_tensors(resized, self.size_divisibility)


class SeesImagePyramid:
    """For detectors: ``MODEL.PYRAMID.SIZES_TEST``. Stands before detectron2's class among the bases.

    RoI heads need a ``PyramidROIPooler``. Proposals have to come from elsewhere than the features: an RPN would have to
    say which size it works on, which neither the paper nor Fast R-CNN does.

    Args:
        pyramid: None sees the network's input alone.
        kwargs: of detectron2's class.

    Raises:
        ValueError: a pyramid with a proposal generator that learns, or with masks or keypoints.
    """

    @configurable
    def __init__(
        self, *, pyramid: Optional[ImagePyramid] = None, proposal_generator: Optional[nn.Module], **kwargs: Any
    ):
        super().__init__(proposal_generator=proposal_generator, **kwargs)
        if (
            pyramid is not None
            and proposal_generator is not None
            and any(True for _ in proposal_generator.parameters())
        ):
            raise ValueError(
                f"MODEL.PYRAMID.SIZES_TEST is for detectors on DenseWindows or on stored proposals, and "
                f"{type(proposal_generator).__name__} has parameters: set it to ()."
            )
        # detectron2's heads have both, one or none of these.
        if pyramid is not None and any(getattr(self.roi_heads, key, False) for key in ("mask_on", "keypoint_on")):
            raise ValueError("MODEL.PYRAMID.SIZES_TEST is for detectors of boxes alone: set it to ().")
        self.pyramid = pyramid

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        arguments = super().from_config(cfg)
        if cfg.MODEL.PYRAMID.SIZES_TEST:
            arguments["pyramid"] = ImagePyramid(
                cfg.MODEL.PYRAMID.SIZES_TEST, cfg.INPUT.MAX_SIZE_TEST, arguments["backbone"].size_divisibility
            )
        return arguments

    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        detected_instances: Optional[List[Instances]] = None,
        do_postprocess: bool = True,
    ) -> List[Union[Dict[str, Any], Instances]]:
        """As ``GeneralizedRCNN.inference``, on features of all sizes; given detections on those of the input."""
        if self.pyramid is None or detected_instances is not None:
            return super().inference(batched_inputs, detected_instances, do_postprocess)
        sizes = [tuple(one["image"].shape[-2:]) for one in batched_inputs]

        # What the backbone returns is replaced, and detectron2's way through the network stays as it is.
        def of_all_sizes(
            backbone: nn.Module, inputs: Tuple[torch.Tensor], features: Dict[str, torch.Tensor]
        ) -> Dict[str, FeaturePyramid]:
            return self.pyramid.features(backbone.forward, ImageList(inputs[0], sizes), features)

        # Before others' hooks: to them, what the backbone does includes all sizes.
        with self.backbone.register_forward_hook(of_all_sizes, prepend=True):
            return super().inference(batched_inputs, detected_instances, do_postprocess)
