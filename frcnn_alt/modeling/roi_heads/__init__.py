"""The Fast R-CNN part of the network, registered as ``FasterRCNNROIHeads``, ``ZFBoxHead`` and ``VGG16BoxHead``."""

from .box_head import VGG16BoxHead, ZFBoxHead
from .fast_rcnn import FasterRCNNOutputLayers
from .pooler import FasterRCNNROIPooler, InclusiveCornerRoIPool
from .pyramid_pooler import PyramidROIPooler
from .roi_heads import FasterRCNNROIHeads
from .roi_warp import ROIWarp

__all__ = [
    "FasterRCNNOutputLayers",
    "FasterRCNNROIHeads",
    "FasterRCNNROIPooler",
    "InclusiveCornerRoIPool",
    "PyramidROIPooler",
    "ROIWarp",
    "VGG16BoxHead",
    "ZFBoxHead",
]
