"""The RPN's losses and their gradients against equation 1, on all four of its axes (SPEC 4.4)."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from fvcore.nn import smooth_l1_loss
from hypothesis import given
from hypothesis import strategies as st
from oracles.rpn_loss import classification_loss, regression_loss, smooth_l1
from small_rpn import (
    IMAGES,
    STATISTICS,
    grid,
    ground_truth,
    inclusive,
    make_rpn,
    random_predictions,
    run_losses,
)

HEIGHT, WIDTH, CELLS = 48, 64, 12
RAW = ([[0.0] * 4], [[1.0] * 4])

# Each of the two programs, and each axis on which they differ by itself
PAPER = {"weight": 10.0, "cells": True, "sigma": 1.0, "statistics": STATISTICS}
PYFRCNN = {"weight": 1.0, "cells": False, "sigma": 3.0, "statistics": RAW}
VARIANTS = {
    "paper": ("paper", [], PAPER),
    "pyfrcnn": ("pyfrcnn", [], PYFRCNN),
    "lambda": ("paper", ["BBOX_REG_LOSS_WEIGHT", 0.1], {**PAPER, "weight": 0.1}),  # Table 9
    "normalizer": ("paper", ["BBOX_REG_NORMALIZER", "samples"], {**PAPER, "cells": False}),
    "sigma": ("paper", ["SMOOTH_L1_BETA", 1 / 9], {**PAPER, "sigma": 3.0}),
    "statistics": ("paper", ["BBOX_REG_STATISTICS", "none"], {**PAPER, "statistics": RAW}),
    "pyfrcnn, sigma": ("pyfrcnn", ["SMOOTH_L1_BETA", 1.0], {**PYFRCNN, "sigma": 1.0}),
    "pyfrcnn, normalizer": ("pyfrcnn", ["BBOX_REG_NORMALIZER", "locations"], {**PYFRCNN, "cells": True}),
}


@lru_cache(maxsize=None)
def rpn_of(variant):
    preset, keys, rule = VARIANTS[variant]
    keys = [f"MODEL.RPN.{part}" if index % 2 == 0 else part for index, part in enumerate(keys)]
    rpn = make_rpn(*keys, preset=preset)
    if rpn.new_box_statistics() is not None:
        rpn.set_box_statistics(*(torch.tensor(value) for value in rule["statistics"]))
    return rpn


def random_batch(seed, num_anchors, shares):
    """Labels, matched boxes and predictions of two images; `shares` of ignored, negative, positive anchors."""
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 0, 1], (2, num_anchors), p=shares).astype(np.int8)
    corners, sides = random.integers(0, 40, (2, num_anchors, 2)), random.integers(1, 90, (2, num_anchors, 2))
    boxes = np.concatenate([corners, corners + sides], axis=2).astype(np.float32)
    class_scores = 4 * random.standard_normal((2, num_anchors, 2)).astype(np.float32)
    deltas = random.standard_normal((2, num_anchors, 4)).astype(np.float32)
    return labels, boxes, class_scores, deltas


@pytest.mark.parametrize("variant", VARIANTS)
@given(
    seed=st.integers(0, 10**6),
    shares=st.sampled_from([(0.2, 0.4, 0.4), (0.0, 0.5, 0.5), (0.5, 0.5, 0.0), (0.9, 0.0, 0.1), (1.0, 0.0, 0.0)]),
)
def test_losses_and_gradients_are_those_of_equation_1(variant, seed, shares):
    """The classification part is a softmax over [background, foreground]; ours sees their difference alone."""
    rpn, rule = rpn_of(variant), VARIANTS[variant][2]
    anchors = grid(rpn, HEIGHT, WIDTH)
    labels, boxes, class_scores, deltas = random_batch(seed, len(anchors[0]), shares)

    scores_in = torch.tensor(class_scores, requires_grad=True)
    deltas_in = torch.tensor(deltas, requires_grad=True)
    losses = run_losses(
        rpn, anchors, scores_in[..., 1] - scores_in[..., 0], torch.from_numpy(labels), deltas_in, torch.tensor(boxes)
    )
    sum(losses.values()).backward()

    mean, std = (value[0] for value in rule["statistics"])
    expected = {"loss_rpn_cls": 0.0, "loss_rpn_loc": 0.0}
    for n in range(2):
        loss, gradient = classification_loss(class_scores[n], labels[n])
        expected["loss_rpn_cls"] += loss / 2
        np.testing.assert_allclose(scores_in.grad[n], gradient / 2, rtol=1e-4, atol=1e-7)
        loss, gradient = regression_loss(
            deltas[n],
            inclusive(anchors[0].tensor),
            inclusive(boxes[n]),
            labels[n],
            weight=rule["weight"],
            normalizer=CELLS if rule["cells"] else max((labels[n] >= 0).sum(), 1),
            sigma=rule["sigma"],
            mean=mean,
            std=std,
        )
        expected["loss_rpn_loc"] += loss / 2
        np.testing.assert_allclose(deltas_in.grad[n], gradient / 2, rtol=1e-4, atol=1e-5)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-5, abs=1e-6), name


@given(x=st.floats(-3, 3, width=32), sigma=st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_beta_is_one_over_sigma_squared(x, sigma):
    ours = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    loss = smooth_l1_loss(ours, torch.zeros(1, dtype=torch.float64), beta=1 / sigma**2, reduction="sum")
    loss.backward()
    value, slope = smooth_l1(x, sigma)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    assert ours.grad.item() == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize(("size", "factor"), [((39, 64), 1.0256), ((38, 63), 1.0693)])
def test_the_papers_factor_against_256_samples(size, factor):
    """SPEC 4.4: lambda * 256 / (H'W') of a 600 x 1000 image for ZF and VGG-16; the other axes kept equal."""
    locations = make_rpn()
    samples = make_rpn("MODEL.RPN.BBOX_REG_NORMALIZER", "samples", "MODEL.RPN.BBOX_REG_LOSS_WEIGHT", 1.0)
    anchors = locations.anchor_generator([torch.zeros(1, 1, *size)])
    labels, boxes = locations.label_and_sample_anchors(anchors, [ground_truth([[300, 200, 350, 260]], (600, 1000))])
    assert (labels[0] >= 0).sum() == 256
    logits, deltas = random_predictions(1, len(anchors[0]))
    paper = run_losses(locations, anchors, logits, labels, deltas, boxes)
    other = run_losses(samples, anchors, logits, labels, deltas, boxes)
    assert (paper["loss_rpn_loc"] / other["loss_rpn_loc"]).item() == pytest.approx(factor, abs=5e-5)
    assert paper["loss_rpn_cls"] == other["loss_rpn_cls"]


def test_both_terms_have_a_weight_of_their_own():
    """The classification's is 1 in both programs; detectron2's LOSS_WEIGHT multiplies both."""
    anchors = grid(make_rpn())
    labels, boxes = make_rpn().label_and_sample_anchors(anchors, IMAGES)
    logits, deltas = random_predictions(2, len(anchors[0]))

    def values(*overrides):
        losses = run_losses(make_rpn(*overrides), anchors, logits, labels, deltas, boxes)
        return np.array([losses["loss_rpn_cls"].item(), losses["loss_rpn_loc"].item()])

    paper = values()
    for weight in (0.1, 1.0, 10.0, 100.0):
        np.testing.assert_allclose(
            values("MODEL.RPN.BBOX_REG_LOSS_WEIGHT", weight), paper * [1, weight / 10], rtol=1e-5
        )
    np.testing.assert_allclose(values("MODEL.RPN.LOSS_WEIGHT", 2.0), 2 * paper, rtol=1e-5)


@pytest.mark.parametrize("box_reg_loss_type", ["smooth_l1", "giou"])
@pytest.mark.parametrize("gt", [[], [[2, 2, 9, 9]]])
def test_images_without_positives_or_without_any_anchor_train_on(gt, box_reg_loss_type):
    rpn = make_rpn("MODEL.RPN.BBOX_REG_LOSS_TYPE", box_reg_loss_type)
    for size in ((96, 128), (16, 20)):  # in the second no anchor fits
        anchors = grid(rpn, *size)
        labels, boxes = rpn.label_and_sample_anchors(anchors, [ground_truth(gt, size)])
        logits, deltas = random_predictions(1, len(anchors[0]))
        losses = run_losses(rpn, anchors, logits, labels, deltas, boxes)
        sum(losses.values()).backward()
        assert torch.isfinite(logits.grad).all() and torch.isfinite(deltas.grad).all()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert (losses["loss_rpn_cls"] > 0) == (size == (96, 128))
        if not gt or size != (96, 128):
            assert losses["loss_rpn_loc"] == 0
