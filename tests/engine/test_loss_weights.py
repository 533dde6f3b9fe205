"""Losses weighed by name: what weight 0 stops, and what it does not (seed 002)."""

from frcnn_alt import get_cfg
from frcnn_alt.engine.loss_weights import loss_weight_problems, loss_weights, weigh_losses

import pytest
import torch
from detectron2.modeling import build_model
from joint_miniature import DETECTOR, RPN, gradients_of, losses_of, small_config, small_image


def weighed(*pairs):
    torch.manual_seed(0)
    cfg = small_config("zf", "MODEL.ROI_BOX_HEAD.DROPOUT", "0.0")
    cfg.SOLVER.LOSS_WEIGHTS = list(pairs)
    model = build_model(cfg).train()
    weigh_losses(model, loss_weights(cfg))
    return model, losses_of(model, [small_image(1), small_image(2)])


def test_losses_are_multiplied_by_their_weights_and_the_others_are_as_ever():
    _, plain = weighed()
    _, losses = weighed("loss_rpn_loc", 0.5, "loss_cls", 0)
    assert set(losses) == set(plain) == DETECTOR | RPN
    factors = {"loss_rpn_loc": 0.5, "loss_cls": 0.0}
    for name, loss in losses.items():
        assert torch.equal(loss, plain[name] * factors.get(name, 1.0)) and plain[name] > 0


def test_weight_0_stops_a_losss_gradient_and_freezes_nothing():
    model, losses = weighed("loss_rpn_cls", 0.0, "loss_rpn_loc", 0.0)
    moved = gradients_of(model, sum(losses.values()))
    assert not [name for name in moved if name.startswith("proposal_generator.")]
    assert "backbone.conv5.weight" in moved  # by the detector's losses
    head = model.proposal_generator.rpn_head
    assert all(parameter.requires_grad for parameter in head.parameters())
    # The optimizer holds it, and weight decay shrinks it.
    before = head.conv.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model.zero_grad()
    model_losses = losses_of(model, [small_image(1)])
    sum(model_losses.values()).backward()
    optimizer.step()
    torch.testing.assert_close(head.conv.weight.detach(), before * (1 - 0.1 * 0.1))


def test_detections_are_left_alone():
    model, _ = weighed("loss_cls", 0.0)
    with torch.no_grad():
        (output,) = model.eval()([{k: v for k, v in small_image(1).items() if k != "instances"}])
    assert "instances" in output


@pytest.mark.parametrize(
    "pairs", [["loss_cls"], [0.5, "loss_cls"], ["loss_cls", -1.0], ["loss_cls", "half"], ["loss_cls", (1, 2)]]
)
def test_pairs_that_are_none_are_told(pairs):
    cfg = get_cfg()
    cfg.SOLVER.LOSS_WEIGHTS = pairs
    (problem,) = loss_weight_problems(cfg)
    assert "SOLVER.LOSS_WEIGHTS" in problem and "names of losses and weights" in problem


def test_pairs_and_none():
    cfg = get_cfg()
    assert loss_weight_problems(cfg) == [] and loss_weights(cfg) == {}
    cfg.SOLVER.LOSS_WEIGHTS = ["loss_cls", 2]
    assert loss_weight_problems(cfg) == [] and loss_weights(cfg) == {"loss_cls": 2.0}
