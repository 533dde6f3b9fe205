import frcnn_alt
from frcnn_alt.modeling.dropout import NonInvertedDropout
from frcnn_alt.modeling.roi_heads import VGG16BoxHead, ZFBoxHead

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_box_head
from oracles.dropout import dropout_at_test, dropout_in_training
from torch import nn

HEADS = [(ZFBoxHead, NonInvertedDropout), (VGG16BoxHead, nn.Dropout)]


@pytest.mark.parametrize(
    "head_class, shape, inputs", [(ZFBoxHead, (256, 6, 6), 9216), (VGG16BoxHead, (512, 7, 7), 25088)]
)
def test_full_width_is_that_of_the_original(head_class, shape, inputs):
    with torch.device("meta"):
        head = head_class(ShapeSpec(channels=shape[0], height=shape[1], width=shape[2]))
    assert {name: tuple(value.shape) for name, value in head.state_dict().items()} == {
        "fc6.weight": (4096, inputs),
        "fc6.bias": (4096,),
        "fc7.weight": (4096, 4096),
        "fc7.bias": (4096,),
    }
    assert head.output_shape == ShapeSpec(channels=4096)
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize("head_class, inverted", [(ZFBoxHead, False), (VGG16BoxHead, True)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("p", [0.5, 0.25])
def test_it_is_caffes_forward_pass(head_class, inverted, training, p):
    """Flattened channel, row, column; ReLU; and both dropouts as the network has them (SPEC 1.1, 1.2)."""
    torch.manual_seed(0)
    head = head_class(ShapeSpec(channels=3, height=2, width=4), fc_dim=8, dropout=p).train(training)
    for layer in (head.fc6, head.fc7):
        nn.init.ones_(layer.bias)  # so that few outputs are 0 before dropout
    kept = {}
    for name in ("drop6", "drop7"):
        getattr(head, name).register_forward_hook(lambda _, __, y, name=name: kept.update({name: y.numpy() != 0}))
    regions = torch.randn(5, 3, 2, 4)
    with torch.no_grad():
        actual = head(regions).numpy()
    weights = {name: value.double().numpy() for name, value in head.state_dict().items()}
    x = np.array([[r[c, i, j] for c in range(3) for i in range(2) for j in range(4)] for r in regions.double().numpy()])
    for layer, dropout in (("fc6", "drop6"), ("fc7", "drop7")):
        x = np.maximum(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
        dropped = (x > 1e-3) & ~kept[dropout]
        assert dropped.any() == training
        x = dropout_in_training(x, kept[dropout], p, inverted) if training else dropout_at_test(x, p, inverted)
    np.testing.assert_allclose(actual, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head_class, dropout_class", HEADS)
def test_dropout_follows_both_layers_in_training(head_class, dropout_class):
    torch.manual_seed(0)
    head = head_class(ShapeSpec(channels=4, height=2, width=2), fc_dim=400, dropout=0.25).train()
    for layer in (head.fc6, head.fc7):  # every unit gives 1
        nn.init.zeros_(layer.weight)
        nn.init.ones_(layer.bias)
    outputs = {}
    head.drop6.register_forward_hook(lambda _, __, y: outputs.update(drop6=y))
    outputs["drop7"] = head(torch.randn(50, 4, 2, 2))
    for values in outputs.values():
        values = values.detach().numpy()
        expected = dropout_in_training(np.ones(values.shape), values > 0, 0.25, dropout_class is nn.Dropout)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        assert (values > 0).mean() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("head_class, dropout_class", HEADS)
def test_built_from_a_config(head_class, dropout_class):
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.NAME = head_class.__name__
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 24
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.0
    head = build_box_head(cfg, ShapeSpec(channels=4, height=3, width=3))
    assert type(head) is head_class
    assert head.output_shape.channels == 24
    assert type(head.drop6) is type(head.drop7) is dropout_class
    regions = torch.randn(6, 4, 3, 3)
    assert torch.equal(head.train()(regions), head.eval()(regions))  # probability 0 drops nothing


@pytest.mark.parametrize("head_class, _", HEADS)
def test_no_regions(head_class, _):
    head = head_class(ShapeSpec(channels=4, height=3, width=3), fc_dim=5)
    assert tuple(head(torch.zeros(0, 4, 3, 3)).shape) == (0, 5)


@pytest.mark.parametrize("head_class, _", HEADS)
def test_new_weights_keep_the_spread(head_class, _):
    torch.manual_seed(0)
    head = head_class(ShapeSpec(channels=16, height=6, width=6), fc_dim=256, dropout=0.0)
    out = head(torch.randn(64, 16, 6, 6))
    assert out.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.3)
