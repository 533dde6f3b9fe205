"""The pass over the training set that measures box targets on dense windows (SPEC 5.3, 8.8).

Stored proposals are measured by ``statistics.py``. Windows follow from the size of an image, so that neither files nor
a network are needed.
"""

import logging
from typing import Any, Dict, List

import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.utils.logger import log_every_n_seconds
from torch import nn

from .defaults import ConfigError
from .statistics import ground_truth, resized_to_train

__all__ = ["knows_its_windows", "measure_window_statistics"]

logger = logging.getLogger(__name__)


def knows_its_windows(model: nn.Module) -> bool:
    """Whether the model's proposal generator has a method ``windows``, as ``DenseWindows`` has, to be measured by."""
    return hasattr(getattr(model, "proposal_generator", None), "windows")


@torch.no_grad()
def measure_window_statistics(cfg: CfgNode, model: nn.Module, dicts: List[Dict[str, Any]]) -> None:
    """Measure each class's mean and std (K x 4) over all windows with IoU >= 0.5 and set them in the RoI heads.

    Counted are the windows of the images and of their mirror images. These have windows of their own: the grid begins
    at the left edge.

    Args:
        cfg: reads INPUT.MIN_SIZE_TRAIN (the first of several), MAX_SIZE_TRAIN: windows live in network-input pixels.
        model: a detector whose ``roi_heads`` is a FasterRCNNROIHeads and whose generator `knows_its_windows`.
        dicts: the training images.

    Raises:
        ConfigError: no window of any image is foreground.
    """
    if not hasattr(model.roi_heads, "new_box_statistics"):
        return  # another project's heads
    statistics = model.roi_heads.new_box_statistics(add_mirror_images=False)
    if statistics is None:
        return  # fixed normalisation
    for done, image in enumerate(dicts, start=1):
        resize, size = resized_to_train(cfg, image)
        windows = model.proposal_generator.windows(size, (size[0] / image["height"], size[1] / image["width"]))
        for transform in (resize, T.TransformList([resize, T.HFlipTransform(size[1])])):
            objects = ground_truth(image, transform, size).to(windows.device)
            model.roi_heads.update_box_statistics(statistics, [windows], [objects])
        log_every_n_seconds(logging.INFO, f"Measuring box targets: image {done} of {len(dicts)}", n=10, name=__name__)
    if statistics.num_samples == 0:
        raise ConfigError(
            f"None of {len(dicts)} training images has a window that overlaps an object enough to be foreground "
            f"(MODEL.ROI_HEADS.IOU_THRESHOLDS): MODEL.ANCHOR_GENERATOR.SIZES {cfg.MODEL.ANCHOR_GENERATOR.SIZES} must "
            f"be nearer to the objects' sizes at INPUT.MIN_SIZE_TRAIN {tuple(cfg.INPUT.MIN_SIZE_TRAIN)}."
        )
    model.roi_heads.set_box_statistics(*statistics.finish())
