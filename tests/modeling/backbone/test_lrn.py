from frcnn_alt.modeling.backbone import ZF, SpatialLocalResponseNorm

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.lrn import spatial_lrn, spatial_lrn_gradient

FIXTURES = [
    (1.0, (2, 3), 0.99996250),
    (100.0, (2, 3), 73.778795),
    (100.0, (0, 3), 80.592745),
    (100.0, (2, 5), 80.592745),
    (100.0, (4, 0), 86.027513),
]


@pytest.mark.parametrize("value, cell, expected", FIXTURES)
def test_constant_map_gives_the_numbers_of_the_specification(value, cell, expected):
    x = torch.full((1, 2, 5, 6), value, dtype=torch.float64)
    assert SpatialLocalResponseNorm()(x)[(0, 1, *cell)].item() == pytest.approx(expected, rel=1e-8)
    assert spatial_lrn(x.numpy())[(0, 1, *cell)] == pytest.approx(expected, rel=1e-8)


def test_it_is_not_torchs_norm_across_channels():
    """A map of 96 equal channels: whatever window across channels, the edge cells would not stand out."""
    x = torch.full((1, 96, 5, 5), 100.0, dtype=torch.float64)
    ours = SpatialLocalResponseNorm()(x)
    for size in (3, 5, 9):
        theirs = torch.nn.LocalResponseNorm(size, alpha=5e-5, beta=0.75, k=1.0)(x)
        assert theirs[0, 48].std() < 1e-9 < ours[0, 48].std()
        assert (ours[0, :, 0, 0] - theirs[0, :, 0, 0]).abs().min() > 1


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    scale=st.sampled_from([0.0, 1.0, 100.0, 1e4]),
)
def test_agrees_with_a_cell_by_cell_computation(seed, shape, scale):
    x = np.random.RandomState(seed).randn(*shape) * scale
    y = SpatialLocalResponseNorm()(torch.from_numpy(x))
    np.testing.assert_allclose(y.numpy(), spatial_lrn(x), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_other_windows_and_parameters(size):
    x = np.random.RandomState(0).randn(2, 3, 4, 5) * 200
    y = SpatialLocalResponseNorm(size, alpha=1e-4, beta=0.6)(torch.from_numpy(x))
    np.testing.assert_allclose(y.numpy(), spatial_lrn(x, size, alpha=1e-4, beta=0.6), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale", [1.0, 100.0, 3000.0])
def test_gradient_is_that_of_finite_differences(scale, training):
    random = np.random.RandomState(0)
    x, upstream = random.randn(1, 2, 4, 3) * scale, random.randn(1, 2, 4, 3)
    leaf = torch.from_numpy(x).requires_grad_()
    SpatialLocalResponseNorm().train(training)(leaf).backward(torch.from_numpy(upstream))
    expected = spatial_lrn_gradient(x, upstream)
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-5, atol=1e-8)


def test_norms_of_zf_agree_in_single_precision():
    """The layers as the network holds them, on activations as large as the pixels."""
    torch.manual_seed(0)
    zf = ZF(width_multiplier=0.02)
    x = torch.rand(2, 4, 7, 6) * 500
    for norm in (zf.norm1, zf.norm2):
        np.testing.assert_allclose(norm(x).numpy(), spatial_lrn(x.numpy()), rtol=1e-5)


def test_channels_do_not_see_each_other():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6) * 100
    changed = x.clone()
    changed[:, 2] *= 10
    before, after = SpatialLocalResponseNorm()(x), SpatialLocalResponseNorm()(changed)
    others = [0, 1, 3]
    assert torch.equal(before[:, others], after[:, others])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_large_activations_survive_half_precision():
    y = SpatialLocalResponseNorm()(torch.full((1, 1, 3, 3), 1000.0, dtype=torch.float16))
    assert y.dtype == torch.float16
    assert y[0, 0, 1, 1].item() == pytest.approx(1000 * (1 + 5e-5 * 1e6) ** -0.75, rel=1e-3)


def test_even_window_is_refused():
    with pytest.raises(ValueError, match="odd"):
        SpatialLocalResponseNorm(size=4)
