"""What a cell of conv5 and conv5_3 sees (SPEC 1.4), measured by where its gradient reaches."""

from frcnn_alt.modeling.backbone import VGG16, ZF

import pytest
import torch
from oracles.network_layers import VGG16_LAYERS, ZF_LAYERS
from oracles.receptive_field import receptive_field
from torch import nn

RPN_CONVOLUTION = [("rpn_conv", "conv", 3, 1, 1, 0)]


@pytest.fixture(scope="module", params=[(ZF, ZF_LAYERS, 139, 171, 0.0), (VGG16, VGG16_LAYERS, 196, 228, 7.5)])
def network(request):
    """(backbone of positive weights, layers, field, field after the RPN's convolution, centre)."""
    backbone_class, layers, field, field_of_rpn, centre = request.param
    backbone = backbone_class(width_multiplier=0.01, freeze_at=0)
    for name, layer in list(backbone.named_children()):
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1.0 / layer.weight[0].numel())
        elif isinstance(layer, nn.MaxPool2d):  # every cell of a window counts, not only the highest
            setattr(backbone, name, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=True))
        else:  # the norms of ZF-net widen the field, and are left out in SPEC 1.4
            setattr(backbone, name, nn.Identity())
    return backbone.double(), layers, field, field_of_rpn, centre


def pixels_seen(backbone, row, neighbours):
    """First and last row of a 480-pixel image that reach the cells `row` - `neighbours` to `row` + `neighbours`."""
    image = torch.ones(1, 3, 480, 20, dtype=torch.float64, requires_grad=True)
    (feature,) = backbone(image).values()
    feature[0, 0, row - neighbours : row + neighbours + 1, 1].sum().backward()
    seen = image.grad[0].abs().sum(dim=(0, 2)).nonzero().flatten()
    return seen[0].item(), seen[-1].item()


@pytest.mark.parametrize("row", [12, 15, 16])
def test_receptive_field_and_its_centre(network, row):
    backbone, layers, field, _, centre = network
    first, last = pixels_seen(backbone, row, neighbours=0)
    assert last - first + 1 == field
    assert (first + last) / 2 - 16 * row == centre
    assert receptive_field(layers) == (16, field, centre)


def test_field_of_the_rpn_after_its_three_by_three_convolution(network):
    backbone, layers, _, field, centre = network
    first, last = pixels_seen(backbone, 14, neighbours=1)
    assert last - first + 1 == field
    assert (first + last) / 2 - 16 * 14 == centre
    assert receptive_field(layers + RPN_CONVOLUTION) == (16, field, centre)


def test_norms_would_widen_the_field_of_zf_to_191():
    with_norms = [(name, "pool" if kind == "lrn" else kind, *rest) for name, kind, *rest in ZF_LAYERS]
    assert receptive_field(with_norms + RPN_CONVOLUTION)[1] == 191
