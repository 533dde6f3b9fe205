"""fc6 and fc7 of ZF-net and VGG-16 over pooled regions.

Shape letters: R regions over all images, C channels, P x P bins.
"""

from collections import OrderedDict
from typing import Any, Dict, Type

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY
from torch import nn

from ..dropout import NonInvertedDropout

__all__ = ["VGG16BoxHead", "ZFBoxHead"]


class _TwoFullyConnectedBoxHead(nn.Sequential):
    """(R, C, P, P) -> (R, fc_dim): fc6, ReLU, dropout, fc7, ReLU, dropout, under the names of the Caffe networks.

    A region is flattened channel by channel, as Caffe does, so the original fc6 weights fit. Weights start from He
    initialisation with zero biases, for training from scratch; the paper's come from ImageNet.

    Args:
        input_shape: channels, height and width of a pooled region.
        fc_dim: outputs of fc6 and of fc7.
        dropout: drop probability after each; 0 is none.
    """

    dropout_class: Type[nn.Dropout]

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, fc_dim: int = 4096, dropout: float = 0.5) -> None:
        inputs = input_shape.channels * input_shape.height * input_shape.width
        super().__init__(
            OrderedDict(
                flatten=nn.Flatten(),
                fc6=nn.Linear(inputs, fc_dim),
                relu6=nn.ReLU(inplace=True),
                drop6=self.dropout_class(dropout),
                fc7=nn.Linear(fc_dim, fc_dim),
                relu7=nn.ReLU(inplace=True),
                drop7=self.dropout_class(dropout),
            )
        )
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> Dict[str, Any]:
        return {
            "input_shape": input_shape,
            "fc_dim": cfg.MODEL.ROI_BOX_HEAD.FC_DIM,
            "dropout": cfg.MODEL.ROI_BOX_HEAD.DROPOUT,
        }

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape of what comes out for one region."""
        return ShapeSpec(channels=self.fc7.out_features)


@ROI_BOX_HEAD_REGISTRY.register()
class ZFBoxHead(_TwoFullyConnectedBoxHead):
    """fc6 and fc7 of ZF-net: 256 x 6 x 6 = 9216 -> 4096 -> 4096, non-inverted dropout (SPEC 1.1)."""

    dropout_class = NonInvertedDropout


@ROI_BOX_HEAD_REGISTRY.register()
class VGG16BoxHead(_TwoFullyConnectedBoxHead):
    """fc6 and fc7 of VGG-16: 512 x 7 x 7 = 25088 -> 4096 -> 4096, ordinary dropout (SPEC 1.2)."""

    dropout_class = nn.Dropout
