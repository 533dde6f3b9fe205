"""Non-inverted dropout, and PyTorch's own beside it, against the rules of both networks (SPEC 1.1, 1.2)."""

from frcnn_alt.modeling.dropout import NonInvertedDropout

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.dropout import dropout_at_test, dropout_in_training
from torch import nn

LAYERS = [(NonInvertedDropout, False), (nn.Dropout, True)]


@pytest.mark.parametrize("layer_class, inverted", LAYERS)
@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32).filter(lambda value: abs(value) > 1e-3), max_size=20),
    p=st.sampled_from([0.0, 0.25, 0.5, 0.9]),
    seed=st.integers(0, 10**6),
)
def test_training_and_test(layer_class, inverted, values, p, seed):
    torch.manual_seed(seed)
    x, layer = torch.tensor(values, dtype=torch.float32), layer_class(p)
    dropped = layer.train()(x).numpy()
    expected = dropout_in_training(x.double().numpy(), dropped != 0, p, inverted)
    np.testing.assert_allclose(dropped, expected, rtol=1e-6)
    np.testing.assert_allclose(layer.eval()(x).numpy(), dropout_at_test(x.double().numpy(), p, inverted), rtol=1e-6)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_share_of_what_is_kept(p):
    torch.manual_seed(0)
    x = torch.randn(200, 200) + 5
    y = NonInvertedDropout(p).train()(x)
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept])
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.01)
    for axis in (0, 1):  # and no row or column is preferred
        assert (kept.float().mean(dim=axis) - (1 - p)).abs().max() < 0.2


def test_half_of_everything_at_test_is_the_papers_zf():
    x = torch.linspace(-3, 3, 20)
    assert torch.equal(NonInvertedDropout(0.5).eval()(x), x / 2)
    assert torch.equal(nn.Dropout(0.5).eval()(x), x)


def test_everything_dropped_is_zero_in_training_and_at_test():
    layer = NonInvertedDropout(1.0)
    for training in (True, False):
        assert not layer.train(training)(torch.ones(9)).any()


def test_expectation_in_training_is_the_evaluation():
    torch.manual_seed(0)
    layer = NonInvertedDropout(0.3)
    x = torch.tensor([1.0, -2.0, 7.0])
    mean = layer.train()(x.expand(40000, 3)).mean(dim=0)
    torch.testing.assert_close(mean, layer.eval()(x), rtol=0.03, atol=0)


def test_gradient_passes_where_the_input_did():
    torch.manual_seed(0)
    x = torch.ones(1000, requires_grad=True)
    y = NonInvertedDropout(0.5).train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert set(y.tolist()) == {0.0, 1.0}
