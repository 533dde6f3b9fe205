from frcnn_alt.modeling.dropout import NonInvertedDropout

import pytest
import torch


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_training_masks_without_rescaling(p):
    torch.manual_seed(0)
    x = torch.randn(200, 200) + 5
    y = NonInvertedDropout(p).train()(x)
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept])
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.01)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_evaluation_scales_by_what_was_kept(p):
    x = torch.linspace(-3, 3, 20)
    torch.testing.assert_close(NonInvertedDropout(p).eval()(x), x * (1 - p))


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
