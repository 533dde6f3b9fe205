"""The layers of both networks against the tables of SPEC 1.1 and 1.2, and which of them are trained."""

from pathlib import Path

import frcnn_alt
from frcnn_alt.modeling.backbone import VGG16, ZF, SpatialLocalResponseNorm

import numpy as np
import pytest
import torch
from detectron2.modeling import build_backbone
from hypothesis import given
from hypothesis import strategies as st
from oracles.max_pooling import max_pool
from oracles.network_layers import VGG16_LAYERS, ZF_LAYERS
from torch import nn

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
NETWORKS = [(ZF, ZF_LAYERS), (VGG16, VGG16_LAYERS)]
KINDS = {nn.Conv2d: "conv", nn.ReLU: "relu", SpatialLocalResponseNorm: "lrn", nn.MaxPool2d: "pool"}


def described(backbone):
    """The layers of a backbone as the oracle lists them."""
    layers, channels = [], None
    for name, layer in backbone.named_children():
        kind = KINDS[type(layer)]
        kernel, stride, padding = 1, 1, 0
        if kind == "lrn":
            kernel, padding = layer.size, layer.size // 2
        elif kind != "relu":
            (kernel,), (stride,), (padding,) = (
                set(value) if isinstance(value, tuple) else {value}
                for value in (layer.kernel_size, layer.stride, layer.padding)
            )
        if kind == "conv":
            channels = layer.out_channels
        layers.append((name, kind, kernel, stride, padding, channels))
    return layers


@pytest.mark.parametrize("network, layers", NETWORKS)
def test_layers_are_those_of_the_table(network, layers):
    with torch.device("meta"):
        backbone = network()
    assert described(backbone) == layers


@pytest.mark.parametrize("network", [ZF, VGG16])
def test_convolutions_have_no_groups_and_a_bias_and_poolings_round_up(network):
    with torch.device("meta"):
        backbone = network()
    channels = 3
    for layer in backbone.children():
        if isinstance(layer, nn.Conv2d):
            assert layer.groups == 1
            assert layer.dilation == (1, 1)
            assert layer.padding_mode == "zeros"
            assert layer.in_channels == channels
            assert layer.bias is not None
            channels = layer.out_channels
        elif isinstance(layer, nn.MaxPool2d):
            assert layer.ceil_mode
            assert layer.dilation == 1


def test_norms_of_zf_have_the_papers_parameters():
    norms = [layer for layer in ZF(width_multiplier=0.01).children() if isinstance(layer, SpatialLocalResponseNorm)]
    assert [(norm.size, norm.alpha, norm.beta) for norm in norms] == [(3, 5e-5, 0.75)] * 2


@pytest.mark.parametrize("network", [ZF, VGG16])
@pytest.mark.parametrize("name", ["pool1", "pool2"])
@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 9))
def test_poolings_take_the_maximum_and_padding_never_is_it(network, name, seed, height, width):
    pool = getattr(network(width_multiplier=0.01), name)
    rule = (pool.kernel_size, pool.stride, pool.padding)
    assert rule == ((3, 2, 1) if network is ZF else (2, 2, 0))
    x = np.random.RandomState(seed).randint(-9, 0, (1, 2, height, width)).astype(np.float64)  # below the padding's 0
    np.testing.assert_array_equal(pool(torch.from_numpy(x)).numpy(), max_pool(x, *rule))


@pytest.mark.parametrize(
    "network, freeze_at, frozen",
    [
        (ZF, 0, []),
        (ZF, 1, ["conv1"]),
        (ZF, 5, ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        (VGG16, 0, []),
        (VGG16, 1, ["conv1_1", "conv1_2"]),
        (VGG16, 2, ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]),
        (VGG16, 5, [name for name, kind, *_ in VGG16_LAYERS if kind == "conv"]),
    ],
)
def test_freeze_at_counts_blocks_from_the_input(network, freeze_at, frozen):
    backbone = network(width_multiplier=0.05, freeze_at=freeze_at)
    not_trained = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert not_trained == {f"{name}.{kind}" for name in frozen for kind in ("weight", "bias")}
    feature = next(iter(backbone(torch.randn(1, 3, 40, 40)).values()))
    assert feature.requires_grad == (freeze_at < 5)


@pytest.mark.parametrize(
    "config, feature, channels, first_trained",
    [("Base-RCNN-ZF.yaml", "conv5", 256, "conv1"), ("Base-RCNN-VGG16.yaml", "conv5_3", 512, "conv3_1")],
)
def test_the_papers_configs_build_the_papers_networks(config, feature, channels, first_trained):
    """One feature of stride 16 (SPEC 1.5); ZF-net is trained as a whole, VGG-16 from conv3_1 on."""
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.MODEL.DEVICE = "cpu"
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert {n: (s.channels, s.stride) for n, s in backbone.output_shape().items()} == {feature: (channels, 16)}
    names = [name for name, kind, *_ in (ZF_LAYERS if feature == "conv5" else VGG16_LAYERS) if kind == "conv"]
    trained = [name for name in names if getattr(backbone, name).weight.requires_grad]
    assert trained == names[names.index(first_trained) :]
    assert all(layer.bias.requires_grad == layer.weight.requires_grad for layer in map(backbone.__getattr__, names))


def test_training_moves_all_but_the_frozen_layers():
    torch.manual_seed(0)
    backbone = VGG16(width_multiplier=0.1, freeze_at=2)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(torch.randn(2, 3, 48, 48))["conv5_3"].square().mean().backward()
    optimizer.step()
    unchanged = {name for name, value in backbone.state_dict().items() if torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in unchanged} == {"conv1_1", "conv1_2", "conv2_1", "conv2_2"}
