"""SPEC 6.1's solver in every step: plain SGD with its decay, bias rate and drops, begun anew, never warmed up."""

from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.engine import StepTrainer, build_schedule, configure_step
from frcnn_alt.engine.meta_model import build_meta_model

import numpy as np
import pytest
import torch
from detectron2.solver import build_lr_scheduler
from miniature import STEPS
from oracles.solver import descend, step_rate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DROPS = {"step1_rpn": 2, "step2_fast_rcnn": 3, "step3_rpn": 4, "step4_fast_rcnn": 5}  # 2 before recording.py's ends
BASES = dict(zip(STEPS, (0.001, 0.002, 0.003, 0.004)))


@pytest.fixture(params=["zf_run", "vgg16_run"])
def steps(request):
    return request.getfixturevalue(request.param)[1]


@pytest.mark.parametrize("name", STEPS)
def test_learning_rate_of_every_iteration_and_parameter(name, steps):
    """Full from iteration 0 on, a tenth from the drop on; biases twice that."""
    for iteration, rates in enumerate(steps[name].rates):
        expected = step_rate(iteration, BASES[name], [DROPS[name]])
        for parameter, rate in rates.items():
            assert rate == pytest.approx(expected * (2 if parameter.endswith("bias") else 1), rel=1e-9), parameter


@pytest.mark.parametrize("name", STEPS)
def test_momentum_and_weight_decay_are_the_same_for_weights_and_biases(name, steps):
    step = steps[name]
    assert set(step.momenta.values()) == {0.9} and set(step.decays.values()) == {0.0005}
    assert {parameter.split(".")[-1] for parameter in step.decays} == {"weight", "bias"}


def test_fast_rcnns_own_program_decays_no_biases():
    """Its values are a key of detectron2's: SOLVER.WEIGHT_DECAY_BIAS 0."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "vgg16_4step.yaml"))
    cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.0
    step_cfg = configure_step(cfg, build_schedule(cfg)["step2_fast_rcnn"], "out")
    model = build_meta_model(step_cfg)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decays = {
        (names[parameter].split(".")[-1], group["weight_decay"])
        for group in StepTrainer.build_optimizer(step_cfg, model).param_groups
        for parameter in group["params"]
    }
    assert decays == {("weight", 0.0005), ("bias", 0.0)}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("rate_in_history", [True, False])
def test_every_tensor_moves_as_by_plain_sgd_without_history(name, rate_in_history, steps):
    """From the recorded gradients alone; Caffe's form of the momentum until the drop, torch's also after it."""
    step = steps[name]
    iterations = DROPS[name] if rate_in_history else len(step.gradients)
    for parameter in step.rates[0]:
        path = descend(
            step.began[parameter].numpy(),
            [gradients[parameter].numpy() for gradients in step.gradients[:iterations]],
            [step_rate(i, BASES[name], [DROPS[name]]) * (2 if parameter.endswith("bias") else 1) for i in range(99)],
            rate_in_history=rate_in_history,
        )
        assert len(path) == iterations
        for expected, weights in zip(path, step.weights):
            np.testing.assert_allclose(weights[parameter], expected, rtol=1e-5, atol=1e-8, err_msg=parameter)


LEAVES = ["zf_4step", "vgg16_4step", "vgg16_4step_voc0712", "vgg16_4step_voc07pp12", "vgg16_4step_coco"]


@pytest.mark.parametrize("leaf", LEAVES)
def test_detectron2s_scheduler_drops_where_the_step_policy_does(leaf):
    """At full length, around every drop and on a grid between."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / f"{leaf}.yaml"))
    for step in build_schedule(cfg).steps:
        step_cfg = configure_step(cfg, step, "out")
        solver = step_cfg.SOLVER
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=solver.BASE_LR)
        scheduler = build_lr_scheduler(step_cfg, optimizer)
        near = [drop + shift for drop in (0, *solver.STEPS, solver.MAX_ITER) for shift in (-2, -1, 0, 1, 2)]
        for iteration in {i for i in (*near, *range(0, solver.MAX_ITER, 997)) if 0 <= i < solver.MAX_ITER}:
            scheduler.last_epoch = iteration
            assert scheduler.get_lr() == pytest.approx([step_rate(iteration, solver.BASE_LR, solver.STEPS)], rel=1e-9)
