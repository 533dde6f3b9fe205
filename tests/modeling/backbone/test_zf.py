from frcnn_alt.modeling.backbone import ZF, SpatialLocalResponseNorm

import pytest
import torch
from torch.nn import functional as F


def test_parameters_have_the_names_and_shapes_of_the_original():
    with torch.device("meta"):
        backbone = ZF()
    assert {name: tuple(value.shape) for name, value in backbone.state_dict().items()} == {
        "conv1.weight": (96, 3, 7, 7),
        "conv1.bias": (96,),
        "conv2.weight": (256, 96, 5, 5),
        "conv2.bias": (256,),
        "conv3.weight": (384, 256, 3, 3),
        "conv3.bias": (384,),
        "conv4.weight": (384, 384, 3, 3),
        "conv4.bias": (384,),
        "conv5.weight": (256, 384, 3, 3),
        "conv5.bias": (256,),
    }
    assert backbone.output_shape()["conv5"].channels == 256
    assert backbone.output_shape()["conv5"].stride == 16


def test_output_is_that_of_the_table_of_layers():
    torch.manual_seed(0)
    backbone = ZF(width_multiplier=0.1).double()  # sums in another order agree to the last digits only
    weights = backbone.state_dict()
    images = torch.randn(2, 3, 70, 90).double() * 100

    def convolve(x, number, stride, padding):
        weight, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        return F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))

    norm = SpatialLocalResponseNorm(3, 5e-5, 0.75)
    x = F.max_pool2d(norm(convolve(images, 1, 2, 3)), 3, 2, 1, ceil_mode=True)
    x = F.max_pool2d(norm(convolve(x, 2, 2, 2)), 3, 2, 1, ceil_mode=True)
    for number in (3, 4, 5):
        x = convolve(x, number, 1, 1)
    torch.testing.assert_close(backbone(images)["conv5"], x)


def test_600_by_1000_pixels_give_2496_locations():
    with torch.device("meta"):
        feature = ZF()(torch.zeros(1, 3, 600, 1000))["conv5"]
    assert tuple(feature.shape) == (1, 256, 39, 64)


@pytest.mark.parametrize("multiplier, channels", [(1.0, 256), (0.5, 128), (0.001, 4)])
def test_width_multiplier(multiplier, channels):
    with torch.device("meta"):
        assert ZF(width_multiplier=multiplier).output_shape()["conv5"].channels == channels
