"""The paper's two backbones, registered as ``build_zf_backbone`` and ``build_vgg16_backbone``."""

from .lrn import SpatialLocalResponseNorm
from .plain import PlainBackbone
from .vgg import VGG16, build_vgg16_backbone
from .zf import ZF, build_zf_backbone

__all__ = [
    "PlainBackbone",
    "SpatialLocalResponseNorm",
    "VGG16",
    "ZF",
    "build_vgg16_backbone",
    "build_zf_backbone",
]
