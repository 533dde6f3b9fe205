from frcnn_alt.modeling.backbone import SpatialLocalResponseNorm

import numpy as np
import pytest
import torch


def lrn_cell_by_cell(x, size=3, alpha=5e-5, beta=0.75):
    """The rule of SPEC 1.1 written out with loops."""
    radius = size // 2
    result = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*x.shape):
        total = 0.0
        for y in range(i - radius, i + radius + 1):
            for z in range(j - radius, j + radius + 1):
                if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                    total += x[n, c, y, z] ** 2
        result[n, c, i, j] = x[n, c, i, j] * (1 + alpha * total / size**2) ** -beta
    return result


@pytest.mark.parametrize(
    "value, inside, edge, corner", [(1.0, 0.99996250, None, None), (100.0, 73.778795, 80.592745, 86.027513)]
)
def test_constant_map_gives_the_numbers_of_the_specification(value, inside, edge, corner):
    y = SpatialLocalResponseNorm()(torch.full((1, 2, 5, 6), value, dtype=torch.float64))
    assert y[0, 1, 2, 3].item() == pytest.approx(inside, rel=1e-7)
    if edge is not None:
        assert y[0, 1, 0, 3].item() == pytest.approx(edge, rel=1e-7)
        assert y[0, 0, 2, 5].item() == pytest.approx(edge, rel=1e-7)
        assert y[0, 1, 4, 0].item() == pytest.approx(corner, rel=1e-7)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_agrees_with_a_cell_by_cell_computation(size):
    x = np.random.RandomState(0).randn(2, 3, 4, 5) * 200
    y = SpatialLocalResponseNorm(size, alpha=1e-4, beta=0.6)(torch.from_numpy(x))
    np.testing.assert_allclose(y.numpy(), lrn_cell_by_cell(x, size, alpha=1e-4, beta=0.6), rtol=1e-12)


def test_channels_do_not_see_each_other():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6) * 100
    changed = x.clone()
    changed[:, 2] *= 10
    before, after = SpatialLocalResponseNorm()(x), SpatialLocalResponseNorm()(changed)
    others = [0, 1, 3]
    assert torch.equal(before[:, others], after[:, others])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_gradient_is_that_of_the_function():
    torch.manual_seed(0)
    x = (torch.randn(1, 2, 4, 4, dtype=torch.float64) * 100).requires_grad_()
    assert torch.autograd.gradcheck(SpatialLocalResponseNorm(), (x,))


def test_large_activations_survive_half_precision():
    y = SpatialLocalResponseNorm()(torch.full((1, 1, 3, 3), 1000.0, dtype=torch.float16))
    assert y.dtype == torch.float16
    assert y[0, 0, 1, 1].item() == pytest.approx(1000 * (1 + 5e-5 * 1e6) ** -0.75, rel=1e-3)


def test_even_window_is_refused():
    with pytest.raises(ValueError, match="odd"):
        SpatialLocalResponseNorm(size=4)
