import frcnn_alt
from frcnn_alt.modeling.backbone import VGG16, ZF, PlainBackbone

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone


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


@pytest.mark.parametrize("network, builder, frozen", [(ZF, "build_zf_backbone", 0), (VGG16, "build_vgg16_backbone", 8)])
def test_the_papers_freezing_is_the_default_and_a_config_decides(network, builder, frozen):
    def count_frozen(backbone):
        return sum(not parameter.requires_grad for parameter in backbone.parameters())

    assert count_frozen(network(width_multiplier=0.01)) == frozen
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = builder, 0.01
    for freeze_at in (0, 1, 5):
        cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
        expected = network(width_multiplier=0.01, freeze_at=freeze_at)
        assert count_frozen(build_backbone(cfg)) == count_frozen(expected)
