import math

import frcnn_alt
from frcnn_alt.modeling.backbone import VGG16, ZF, PlainBackbone

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.structures import ImageList
from torch import nn

SIDES = range(100, 1200)


def output_side(side, kernel, stride, padding, pool):
    """Caffe's size of a convolution or pooling (SPEC 1.3)."""
    if not pool:
        return (side + 2 * padding - kernel) // stride + 1
    cells = math.ceil((side + 2 * padding - kernel) / stride) + 1
    if padding and (cells - 1) * stride >= side + padding:
        cells -= 1
    return cells


def zf_sides(side):
    conv1 = output_side(side, 7, 2, 3, pool=False)
    pool1 = output_side(conv1, 3, 2, 1, pool=True)
    conv2 = output_side(pool1, 5, 2, 2, pool=False)
    return conv1, pool1, conv2, output_side(conv2, 3, 2, 1, pool=True)


def vgg_sides(side):
    sides = []
    for _ in range(4):
        side = output_side(side, 2, 2, 0, pool=True)
        sides.append(side)
    return tuple(sides)


def measured_sizes(backbone, names, height, width, device="cpu"):
    """(heights, widths) after the named layers."""
    seen = {}
    hooks = [
        getattr(backbone, name).register_forward_hook(lambda _, __, y, name=name: seen.update({name: y.shape[2:]}))
        for name in names
    ]
    with torch.no_grad():
        backbone(torch.zeros(1, 3, height, width, device=device))
    for hook in hooks:
        hook.remove()
    return tuple(zip(*(seen[name] for name in names)))


def measured_sides(backbone, names, side):
    return measured_sizes(backbone, names, side, 20)[0]


@pytest.fixture(scope="module")
def zf():
    return ZF(width_multiplier=0.01)


@pytest.fixture(scope="module")
def vgg():
    return VGG16(width_multiplier=0.01)


@pytest.mark.parametrize(
    "side, expected",
    [
        (224, (112, 57, 29, 15)),
        (375, (188, 95, 48, 25)),
        (500, (250, 126, 63, 32)),
        (600, (300, 151, 76, 39)),
        (800, (400, 201, 101, 51)),
        (1000, (500, 251, 126, 64)),
    ],
)
def test_zf_feature_sizes_are_those_of_the_specification(zf, side, expected):
    assert measured_sides(zf, ["conv1", "pool1", "conv2", "conv5"], side) == expected


@pytest.mark.parametrize("side, expected", [(900, 57), (901, 57), (903, 58)])
def test_zf_last_feature_size(zf, side, expected):
    assert measured_sides(zf, ["conv5"], side) == (expected,)


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
def test_vgg_feature_sizes_are_those_of_the_specification(vgg, side, expected):
    assert measured_sides(vgg, ["pool1", "pool2", "pool3", "conv5_3"], side) == expected


def test_sizes_follow_caffe_for_every_side():
    zf, vgg = ZF(width_multiplier=0.01).to("meta"), VGG16(width_multiplier=0.01).to("meta")
    for height, width in zip(SIDES[:128], SIDES[-128:]):  # the rounding repeats every 16 pixels
        sizes = measured_sizes(zf, ["conv1", "pool1", "conv2", "conv5"], height, width, "meta")
        assert sizes == (zf_sides(height), zf_sides(width))
        sizes = measured_sizes(vgg, ["pool1", "pool2", "pool3", "conv5_3"], height, width, "meta")
        assert sizes == (vgg_sides(height), vgg_sides(width))


def test_only_vgg_has_the_rounded_up_sixteenth():
    """What SPEC 1.3 says follows from the rule, with which the networks agree in the test above."""
    assert all(vgg_sides(side)[-1] == math.ceil(side / 16) for side in SIDES)
    extra = [zf_sides(side)[-1] - math.ceil(side / 16) for side in SIDES]
    assert set(extra) == {0, 1}
    assert sum(extra) / len(SIDES) == pytest.approx(0.63, abs=0.01)


@pytest.mark.parametrize(
    "backbone_class, feature, field, centre", [(ZF, "conv5", 139, 0.0), (VGG16, "conv5_3", 196, 7.5)]
)
def test_receptive_field_and_its_centre(backbone_class, feature, field, centre):
    """SPEC 1.4; the norms of ZF, which widen the field, are left out there."""
    backbone = backbone_class(width_multiplier=0.01, freeze_at=0)
    for name, layer in list(backbone.named_children()):
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1.0 / layer.weight[0].numel())
        elif isinstance(layer, nn.MaxPool2d):  # every cell of a window counts, not only the highest
            setattr(backbone, name, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=True))
        else:
            setattr(backbone, name, nn.Identity())
    image = torch.ones(1, 3, 416, 64, dtype=torch.float64, requires_grad=True)
    row = 13
    backbone.double()(image)[feature][0, 0, row, 1].backward()
    seen = image.grad[0].abs().sum(dim=(0, 2)).nonzero().flatten()
    first, last = seen[0].item(), seen[-1].item()
    assert last - first + 1 == field
    assert (first + last) / 2 - 16 * row == centre


@pytest.mark.parametrize(
    "backbone_class, freeze_at, frozen",
    [
        (ZF, 0, []),
        (ZF, 1, ["conv1"]),
        (ZF, 5, ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        (VGG16, 0, []),
        (VGG16, 2, ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]),
        (VGG16, 5, None),
    ],
)
def test_freeze_at_counts_blocks_from_the_input(backbone_class, freeze_at, frozen):
    backbone = backbone_class(width_multiplier=0.05, freeze_at=freeze_at)
    not_trained = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    if frozen is None:
        assert not_trained == {name for name, _ in backbone.named_parameters()}
    else:
        assert not_trained == {f"{name}.{kind}" for name in frozen for kind in ("weight", "bias")}
    feature = next(iter(backbone(torch.randn(1, 3, 40, 40)).values()))
    assert feature.requires_grad == (freeze_at < 5)


def test_training_moves_all_but_the_frozen_layers():
    torch.manual_seed(0)
    backbone = VGG16(width_multiplier=0.1, freeze_at=2)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(torch.randn(2, 3, 48, 48))["conv5_3"].square().mean().backward()
    optimizer.step()
    unchanged = {name for name, value in backbone.state_dict().items() if torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in unchanged} == {"conv1_1", "conv1_2", "conv2_1", "conv2_2"}


def test_images_are_not_padded_to_the_stride(zf):
    batch = ImageList.from_tensors([torch.zeros(3, 101, 83), torch.zeros(3, 75, 97)], zf.size_divisibility)
    assert zf.size_divisibility == 0
    assert tuple(batch.tensor.shape) == (2, 3, 101, 97)


@pytest.mark.parametrize("arguments", [{"freeze_at": -1}, {"freeze_at": 6}])
def test_wrong_freeze_at_is_refused(arguments):
    with pytest.raises(ValueError, match="FREEZE_AT must be between 0 and 5"):
        ZF(width_multiplier=0.01, **arguments)


@pytest.mark.parametrize("out_features", [("conv6",), ()])
def test_wrong_features_are_refused(out_features):
    with pytest.raises(ValueError, match="choose out_features among"):
        ZF(width_multiplier=0.01, out_features=out_features)


@pytest.mark.parametrize("multiplier", [0.0, -1.0])
def test_wrong_width_is_refused(multiplier):
    with pytest.raises(ValueError, match="WIDTH_MULTIPLIER"):
        VGG16(width_multiplier=multiplier)


def test_features_carry_their_own_channels_and_strides():
    zf = ZF(width_multiplier=0.25, out_features=("conv1", "conv2", "conv5"))
    vgg = VGG16(width_multiplier=0.25, out_features=("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"))
    for backbone, strides in [(zf, [2, 8, 16]), (vgg, [1, 2, 4, 8, 16])]:
        shapes = backbone.output_shape()
        assert [shape.stride for shape in shapes.values()] == strides
        outputs = backbone(torch.randn(1, 3, 64, 64))
        assert list(outputs) == list(shapes)
        for name, value in outputs.items():
            assert value.shape[1] == shapes[name].channels
            assert value.min() >= 0  # after ReLU
            assert abs(value.shape[2] - 64 / shapes[name].stride) <= 1


@pytest.mark.parametrize(
    "builder, freeze_at, feature, channels",
    [("build_zf_backbone", 0, "conv5", 128), ("build_vgg16_backbone", 2, "conv5_3", 256)],
)
def test_built_from_a_detectron2_config(builder, freeze_at, feature, channels):
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.5
    backbone = build_backbone(cfg, ShapeSpec(channels=3))
    assert isinstance(backbone, PlainBackbone)
    shapes = {name: (shape.channels, shape.stride) for name, shape in backbone.output_shape().items()}
    assert shapes == {feature: (channels, 16)}
    frozen = sum(not parameter.requires_grad for parameter in backbone.parameters())
    assert frozen == {0: 0, 2: 8}[freeze_at]


@pytest.mark.parametrize("backbone_class", [ZF, VGG16])
@pytest.mark.parametrize("deviation", [1.0, 57.6])
def test_new_features_have_about_unit_spread(backbone_class, deviation):
    """So that training from scratch starts with scores near 0 in spite of pixels between 0 and 255."""
    torch.manual_seed(0)
    backbone = backbone_class(width_multiplier=0.25, input_deviation=deviation)
    with torch.no_grad():
        feature = next(iter(backbone(torch.randn(2, 3, 96, 96) * deviation).values()))
    assert 0.3 < feature.square().mean().sqrt() < 5
