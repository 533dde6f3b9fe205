"""SPEC 6.1 and 6.3, line by line, on runs in miniature: what starts from where, what moves, what the end is made of."""

from frcnn_alt.checkpointing import read_checkpoint, select_components

import pytest
import torch
from miniature import STEPS, weights_of

ONE, TWO, THREE, FOUR = STEPS
BACKBONE, RPN, FC, PREDICTOR = "backbone", "proposal_generator", "roi_heads.box_head", "roi_heads.box_predictor"


@pytest.fixture(params=["zf_run", "vgg16_run"])
def either_run(request):
    return request.getfixturevalue(request.param)


def part(state, *components):
    found = select_components(state, components)
    assert found, components
    return found


def learned(state):
    return {name: value for name, value in state.items() if not name.endswith((".mean", ".std"))}


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def none_equal(a, b):
    """No weight matrix of the one is that of the other (biases may both be zero)."""
    weights = [name for name in a if name.endswith("weight")]
    assert weights and set(a) == set(b)
    return not any(torch.equal(a[name], b[name]) for name in weights)


def test_each_network_has_only_the_components_of_its_step(either_run):
    _, steps = either_run
    for name in (ONE, THREE):
        assert {key.split(".")[0] for key in steps[name].began} == {BACKBONE, RPN}
        assert not steps[name].cfg.MODEL.RPN.PROPOSALS_IN_TRAINING  # nobody would use them
    for name in (TWO, FOUR):  # no RPN inside: its proposals are given
        assert {key.split(".")[0] for key in steps[name].began} == {BACKBONE, "roi_heads"}


def test_convolutions_of_steps_1_and_2_are_the_initial_ones_and_those_of_3_and_4_are_step_2s(either_run):
    cfg, steps = either_run
    initial = part(read_checkpoint(cfg.MODEL.WEIGHTS)["model"], BACKBONE)
    ends = {name: part(weights_of(cfg.OUTPUT_DIR, name), BACKBONE) for name in STEPS}
    assert equal(part(steps[ONE].began, BACKBONE), initial)
    assert equal(part(steps[TWO].began, BACKBONE), initial)
    assert not equal(ends[ONE], initial) and not equal(ends[TWO], ends[ONE]) and not equal(ends[TWO], initial)
    for name in (THREE, FOUR):
        assert equal(part(steps[name].began, BACKBONE), ends[TWO])
        assert equal(ends[name], ends[TWO])


def blocks_that_moved(step):
    """First parts of the names of convolutions that an iteration changed: conv1 ... conv5."""
    began, ended = part(step.began, BACKBONE), part(step.weights[-1], BACKBONE)
    assert set(began) == set(ended)
    return {name.split(".")[1].split("_")[0] for name in began if not torch.equal(began[name], ended[name])}


@pytest.mark.parametrize(
    "run, trained",
    [("zf_run", {"conv1", "conv2", "conv3", "conv4", "conv5"}), ("vgg16_run", {"conv3", "conv4", "conv5"})],
)
def test_convolutions_that_are_frozen(run, trained, request):
    """ZF none and VGG-16 conv1 and conv2 in steps 1 and 2; all in steps 3 and 4."""
    _, steps = request.getfixturevalue(run)
    for name, moved in ((ONE, trained), (TWO, trained), (THREE, set()), (FOUR, set())):
        assert blocks_that_moved(steps[name]) == moved
        in_optimizer = {key.split(".")[1].split("_")[0] for key in steps[name].rates[0] if key.startswith(BACKBONE)}
        assert in_optimizer == moved


def test_optimizer_holds_what_is_trained_and_nothing_else(either_run):
    _, steps = either_run
    frozen = ("backbone.conv1_", "backbone.conv2_")  # the names of VGG-16's alone have a second number
    names = {name: set(learned(steps[name].began)) for name in STEPS}
    for name in (ONE, TWO):
        assert set(steps[name].rates[0]) == {key for key in names[name] if not key.startswith(frozen)}
    assert set(steps[THREE].rates[0]) == {key for key in names[THREE] if key.startswith(RPN)}
    assert set(steps[FOUR].rates[0]) == {key for key in names[FOUR] if key.startswith((FC, PREDICTOR))}
    for step in steps.values():  # and every one of them gets a gradient and moves
        assert set(step.gradients[0]) == set(step.rates[0])
        assert all(not torch.equal(step.began[key], step.weights[-1][key]) for key in step.rates[0])


def test_rpn_head_of_step_3_is_new_again(either_run):
    cfg, steps = either_run
    new = learned(part(steps[THREE].began, RPN))
    assert none_equal(new, learned(part(steps[ONE].began, RPN)))
    assert none_equal(new, learned(part(weights_of(cfg.OUTPUT_DIR, ONE), RPN)))
    for began in (new, learned(part(steps[ONE].began, RPN))):  # N(0, 0.01) and zero biases (SPEC 4.1)
        for name, value in began.items():
            if name.endswith("bias"):
                assert (value == 0).all(), name
            else:
                assert value.std().item() == pytest.approx(0.01, rel=5 / value.numel() ** 0.5), name


def test_rpn_head_of_step_3_continued_from_step_1(switched_run):
    cfg, steps = switched_run
    assert equal(learned(part(steps[THREE].began, RPN)), learned(part(weights_of(cfg.OUTPUT_DIR, ONE), RPN)))
    assert equal(part(steps[THREE].began, BACKBONE), part(weights_of(cfg.OUTPUT_DIR, TWO), BACKBONE))


def test_fc6_and_fc7_start_from_the_initial_weights_and_then_from_step_2(either_run, switched_run):
    for cfg, steps in (either_run, switched_run):
        assert equal(part(steps[TWO].began, FC), part(read_checkpoint(cfg.MODEL.WEIGHTS)["model"], FC))
        end = part(weights_of(cfg.OUTPUT_DIR, TWO), FC)
        assert none_equal(end, part(steps[TWO].began, FC))
        assert equal(part(steps[FOUR].began, FC), end)


def test_box_predictor_of_step_4_continues_step_2s(either_run):
    cfg, steps = either_run
    assert equal(learned(part(steps[FOUR].began, PREDICTOR)), learned(part(weights_of(cfg.OUTPUT_DIR, TWO), PREDICTOR)))


def test_box_predictor_of_step_4_new(switched_run):
    cfg, steps = switched_run
    assert none_equal(
        learned(part(steps[FOUR].began, PREDICTOR)), learned(part(weights_of(cfg.OUTPUT_DIR, TWO), PREDICTOR))
    )
    assert none_equal(learned(part(steps[FOUR].began, PREDICTOR)), learned(part(steps[TWO].began, PREDICTOR)))


def test_a_new_box_predictor_is_gaussian(either_run, switched_run):
    """cls_score N(0, 0.01), bbox_pred N(0, 0.001), biases 0 (SPEC 5.3)."""
    for began in (either_run[1][TWO].began, switched_run[1][FOUR].began):
        for layer, deviation in (("cls_score", 0.01), ("bbox_pred", 0.001)):
            weight = began[f"{PREDICTOR}.{layer}.weight"]
            assert weight.std().item() == pytest.approx(deviation, rel=5 / weight.numel() ** 0.5)
            assert (began[f"{PREDICTOR}.{layer}.bias"] == 0).all()


def test_final_network_is_convolutions_of_2_rpn_of_3_and_heads_of_4_in_one_state_dict(either_run, switched_run):
    for cfg, steps in (either_run, switched_run):
        final = read_checkpoint(f"{cfg.OUTPUT_DIR}/model_final.pth")["model"]
        for step, components in ((TWO, [BACKBONE]), (THREE, [RPN]), (FOUR, [FC, PREDICTOR])):
            assert equal(part(final, *components), part(weights_of(cfg.OUTPUT_DIR, step), *components))
            last = steps[step].weights[-1]  # of the last iteration, not of an earlier checkpoint
            assert equal(learned(part(final, *components)), part(last, *components))
        assert set(final) == set(part(final, BACKBONE, RPN, FC, PREDICTOR))


def test_images_per_batch_and_iterations(either_run):
    _, steps = either_run
    seen = {name: [len(batch) for batch in step.batches] for name, step in steps.items()}
    assert seen == {ONE: [1] * 4, TWO: [2] * 5, THREE: [1] * 6, FOUR: [2] * 7}


def test_rpn_steps_train_on_ground_truth_alone(either_run):
    _, steps = either_run
    for name, step in steps.items():
        for image in (image for batch in step.batches for image in batch):
            assert len(image["instances"]) > 0
            assert ("proposals" in image) == (name in (TWO, FOUR))
