from frcnn_alt.modeling.backbone import VGG16

import torch
import torchvision

NAMES = [
    f"conv{block}_{position}"
    for block, convolutions in enumerate([2, 2, 3, 3, 3], start=1)
    for position in range(1, convolutions + 1)
]


def test_parameters_have_the_names_and_numbers_of_the_original():
    with torch.device("meta"):
        backbone = VGG16()
    assert list(backbone.state_dict()) == [f"{name}.{kind}" for name in NAMES for kind in ("weight", "bias")]
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 14_714_688
    assert backbone.output_shape()["conv5_3"].channels == 512
    assert backbone.output_shape()["conv5_3"].stride == 16


def test_agrees_with_torchvision_where_no_rounding_matters():
    torch.manual_seed(0)
    channels = [8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 64, 64, 64, "M", 64, 64, 64]
    theirs = torchvision.models.vgg.make_layers(channels)
    backbone = VGG16(width_multiplier=1 / 8)
    convolutions = [layer for layer in theirs if isinstance(layer, torch.nn.Conv2d)]
    for name, convolution in zip(NAMES, convolutions):
        getattr(backbone, name).load_state_dict(convolution.state_dict())
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        expected = theirs(images)
        assert expected.std() > 1e-3
        torch.testing.assert_close(backbone(images)["conv5_3"], expected)


def test_600_by_1000_pixels_give_2394_locations():
    with torch.device("meta"):
        feature = VGG16()(torch.zeros(1, 3, 600, 1000))["conv5_3"]
    assert tuple(feature.shape) == (1, 512, 38, 63)
