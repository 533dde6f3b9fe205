"""Every size of every feature map, against Caffe's rounding (SPEC 1.3)."""

import math

from frcnn_alt.modeling.backbone import VGG16, ZF

import pytest
import torch
from detectron2.structures import ImageList
from oracles.network_layers import VGG16_LAYERS, ZF_LAYERS
from oracles.pooling_sizes import conv_size, pool_size, sizes_after

SIDES = range(100, 1201)
NETWORKS = [(ZF, ZF_LAYERS), (VGG16, VGG16_LAYERS)]


def sizes_of_layers(backbone, images, device="cpu"):
    """For each (height, width) of `images`, (heights, widths) after each convolution and pooling, by name."""
    seen = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, y, name=name: seen.update({name: tuple(y.shape[2:])}))
        for name, layer in backbone.named_children()
        if name.startswith(("conv", "pool"))
    ]
    found = []
    with torch.no_grad():
        for height, width in images:
            backbone(torch.zeros(1, 3, height, width, device=device))
            found.append(
                ({name: size[0] for name, size in seen.items()}, {name: size[1] for name, size in seen.items()})
            )
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    "side, expected",
    [
        (224, (112, 57, 29, 15)),
        (375, (188, 95, 48, 25)),
        (500, (250, 126, 63, 32)),
        (600, (300, 151, 76, 39)),
        (800, (400, 201, 101, 51)),
        (1000, (500, 251, 126, 64)),
        (900, (None, None, None, 57)),
        (901, (None, None, None, 57)),
        (903, (None, None, None, 58)),
    ],
)
def test_zf_feature_sizes_are_those_of_the_specification(side, expected):
    (heights, widths), (transposed, _) = sizes_of_layers(ZF(width_multiplier=0.01), [(20, side), (side, 20)])
    names = ["conv1", "pool1", "conv2", "conv5"]
    of_oracle = sizes_after(ZF_LAYERS, side)
    for name, size in zip(names, expected):
        assert widths[name] == transposed[name] == of_oracle[name]
        assert size in (None, widths[name])
    assert heights["conv5"] == 2 == sizes_after(ZF_LAYERS, 20)["conv5"]


@pytest.mark.parametrize(
    "side, expected",
    [
        (224, (112, 56, 28, 14)),
        (375, (188, 94, 47, 24)),
        (500, (250, 125, 63, 32)),
        (600, (300, 150, 75, 38)),
        (800, (400, 200, 100, 50)),
        (901, (451, 226, 113, 57)),
        (1000, (500, 250, 125, 63)),
    ],
)
def test_vgg_feature_sizes_are_those_of_the_specification(side, expected):
    (_, widths), (transposed, _) = sizes_of_layers(VGG16(width_multiplier=0.01), [(20, side), (side, 20)])
    names = ["pool1", "pool2", "pool3", "conv5_3"]
    of_oracle = sizes_after(VGG16_LAYERS, side)
    for measured in (widths, transposed, of_oracle):
        assert tuple(measured[name] for name in names) == expected


@pytest.mark.parametrize("network, layers", NETWORKS)
def test_all_layers_have_caffes_size_for_every_side_from_100_to_1200(network, layers):
    """The networks themselves run over images of one row; every convolution and pooling is compared."""
    backbone = network(width_multiplier=0.01)
    for side, (heights, widths) in zip(SIDES, sizes_of_layers(backbone, [(1, side) for side in SIDES])):
        assert widths == sizes_after(layers, side), side
        assert set(heights.values()) == {1}


@pytest.mark.parametrize("network, layers", NETWORKS)
def test_height_and_width_follow_the_same_rule(network, layers):
    images = [(height, 1300 - height) for height in range(100, 1201, 7)]
    found = sizes_of_layers(network(width_multiplier=0.01).to("meta"), images, "meta")
    for (height, width), (heights, widths) in zip(images, found):
        assert heights == sizes_after(layers, height)
        assert widths == sizes_after(layers, width)


def test_only_vgg_has_the_rounded_up_sixteenth():
    """SPEC 1.3: VGG-16 always, ZF-net for 37 % of the sides; the networks are compared with the rule above."""
    assert all(sizes_after(VGG16_LAYERS, side)["conv5_3"] == math.ceil(side / 16) for side in SIDES)
    extra = [sizes_after(ZF_LAYERS, side)["conv5"] - math.ceil(side / 16) for side in SIDES]
    assert set(extra) == {0, 1}
    assert round(100 * extra.count(0) / len(extra)) == 37
    assert round(100 * extra.count(1) / len(extra)) == 63


@pytest.mark.parametrize(
    "side, floored", [(224, 14), (375, 23), (500, 31), (600, 37), (800, 50), (901, 56), (1000, 62)]
)
def test_rounding_down_would_be_something_else(side, floored):
    """SPEC 1.3's last column: what torchvision's VGG-16 gives."""
    assert side // 16 == floored
    assert (sizes_after(VGG16_LAYERS, side)["conv5_3"] == floored) == (side % 16 == 0)


@pytest.mark.parametrize("kernel, stride, padding", [(3, 2, 1), (2, 2, 0), (3, 2, 0), (3, 3, 1), (5, 2, 2)])
def test_torch_rounds_up_as_caffe_does(kernel, stride, padding):
    """For poolings in general, down to maps of a single cell."""
    pool = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)
    for n in range(kernel, 40):
        assert pool(torch.zeros(1, 1, n, kernel)).shape[2] == pool_size(n, kernel, stride, padding)


@pytest.mark.parametrize("network, layers", NETWORKS)
@pytest.mark.parametrize("height, width", [(1, 1), (1, 2), (15, 16), (17, 33)])
def test_images_smaller_than_an_anchor(network, layers, height, width):
    ((heights, widths),) = sizes_of_layers(network(width_multiplier=0.01), [(height, width)])
    assert heights == sizes_after(layers, height)
    assert widths == sizes_after(layers, width)


@pytest.mark.parametrize("network, layers", NETWORKS)
def test_images_are_padded_to_the_batch_and_not_to_the_stride(network, layers):
    backbone = network(width_multiplier=0.01)
    assert backbone.size_divisibility == 0
    images = [torch.ones(3, 101, 83), torch.ones(3, 75, 97)]
    batch = ImageList.from_tensors(images, backbone.size_divisibility)
    assert tuple(batch.tensor.shape) == (2, 3, 101, 97)
    assert batch.tensor[0, :, :, 83:].abs().sum() == batch.tensor[1, :, 75:].abs().sum() == 0
    (feature,) = backbone(batch.tensor).values()
    expected = [list(sizes_after(layers, side).values())[-1] for side in (101, 97)]
    assert list(feature.shape[2:]) == expected


def test_a_convolution_rounds_down():
    assert [conv_size(n, 7, 2, 3) for n in (1, 2, 3, 4, 224, 225)] == [1, 1, 2, 2, 112, 113]
