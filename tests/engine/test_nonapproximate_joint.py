"""SPEC 7.2, non-approximate joint training: the whole path from the detector's losses to the RPN's deltas."""

import json
from contextlib import contextmanager

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.engine import main

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from joint_miniature import DETECTOR, RPN, arguments, gradients_of, losses_of, small_config, small_image
from miniature import write_initial_weights

BOX_LAYER = "proposal_generator.rpn_head.anchor_deltas.weight"
SCORE_LAYER = "proposal_generator.rpn_head.objectness_logits.weight"
DETECTOR_LAYER = "roi_heads.box_head.fc7.weight"
NO_CLAMP = ["MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", "0.0"]
OFF = ["MODEL.RPN.PROPOSAL_GRADIENT", "False"]
NO_DROPOUT = ["MODEL.ROI_BOX_HEAD.DROPOUT", "0.0"]


def build(net="zf", *opts):
    torch.manual_seed(0)
    return build_model(small_config(net, *opts, kind="joint_nonapproximate")).train()


@pytest.mark.parametrize("net", ["zf", "vgg16"])
def test_detector_losses_move_the_rpns_box_layer(net):
    """And the layers below it, by way of it; but not the scores, which only decide."""
    model = build(net)
    losses = losses_of(model, [small_image(1), small_image(2)])
    assert set(losses) == DETECTOR | RPN
    for name in DETECTOR:
        moved = gradients_of(model, losses[name])
        assert BOX_LAYER in moved and "proposal_generator.rpn_head.conv.weight" in moved
        assert not [key for key in moved if "objectness_logits" in key]


def test_without_the_key_they_do_not_and_all_losses_are_the_same():
    """The approximation with the same pooling: the values agree to the last bit, the gradients do not."""
    images = [small_image(1), small_image(2)]
    exact, approximate = build("zf", *NO_DROPOUT), build("zf", *NO_DROPOUT, *OFF)
    losses, approximate_losses = losses_of(exact, images), losses_of(approximate, images)
    for name in DETECTOR | RPN:
        assert torch.equal(losses[name], approximate_losses[name])
    for name in DETECTOR:
        assert not [key for key in gradients_of(approximate, approximate_losses[name]) if "proposal_generator" in key]
    for name in RPN:
        gradients, expected = gradients_of(exact, losses[name]), gradients_of(approximate, approximate_losses[name])
        assert set(gradients) == set(expected) and all(torch.equal(gradients[key], expected[key]) for key in expected)


def in_double_precision(*opts):
    """All of the network but its boxes, which detectron2 keeps in single precision, and the scores compared to them."""
    model = build("zf", *NO_DROPOUT, *opts).double()
    head = model.proposal_generator.rpn_head
    head.register_forward_hook(lambda _, __, output: ([logits.float() for logits in output[0]], output[1]))
    return model


@contextmanager
def shifted_deltas(model, shift):
    """While it lasts, `shift` (1, 4A, Hi, Wi) is added to what the RPN's box layer gives."""
    hook = model.proposal_generator.rpn_head.anchor_deltas.register_forward_hook(lambda _, __, deltas: deltas + shift)
    try:
        yield
    finally:
        hook.remove()


def detector_loss(model, shift, names):
    with shifted_deltas(model, shift):
        losses = losses_of(model, [small_image(1)])
    return sum(losses[name] for name in names)


def shift_of(model):
    with torch.no_grad():
        size = model.backbone(torch.zeros(1, 3, 84, 112, dtype=next(model.parameters()).dtype))["conv5"].shape[2:]
    return torch.zeros((1, 36, *size), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(
    "names, detach", [(["loss_cls"], True), (["loss_box_reg"], False), (["loss_cls", "loss_box_reg"], False)]
)
def test_gradient_of_the_deltas_is_the_slope_of_the_loss(names, detach):
    """The whole network; each delta of each sampled proposal is moved.

    With detached targets the box loss has no such slope, since its targets move with the deltas all the same.
    """
    keys = ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "12", "MODEL.ROI_BOX_HEAD.DETACH_TARGETS", str(detach)]
    model = in_double_precision(*NO_CLAMP, *keys)
    for parameter in model.roi_heads.box_predictor.parameters():
        parameter.data *= 30  # as small as they begin, the losses would hardly depend on the features
    shift = shift_of(model)
    detector_loss(model, shift, names).backward()
    moved = shift.grad.nonzero().tolist()
    assert 12 <= len(moved) <= 48
    step, slopes = 1e-3, []
    with torch.no_grad():
        for index in moved:
            sides = []
            for sign in (1, -1):
                moved_shift = shift.detach().clone()
                moved_shift[tuple(index)] += sign * step
                sides.append(detector_loss(model, moved_shift, names).item())
            slopes.append((sides[0] - sides[1]) / (2 * step))
    gradients = np.array([shift.grad[tuple(index)].item() for index in moved])
    errors = np.abs(gradients - slopes)
    # Where a place crosses into another cell, or a maximum changes, within the step, there is no one slope.
    assert np.median(errors / np.abs(gradients)) < 1e-3
    assert (errors < 0.02 * np.abs(gradients).max()).mean() > 0.9


def test_deltas_of_boxes_that_are_clipped_on_all_sides_get_none():
    """dw and dh so large that every proposal is the whole image: nothing is left that could move."""
    model = in_double_precision(*NO_CLAMP)
    shift = shift_of(model)
    with torch.no_grad():
        shift.view(1, 9, 4, *shift.shape[2:])[:, :, 2:] = 4.0
    detector_loss(model, shift, DETECTOR).backward()
    assert not shift.grad.any()


def test_clamp_bounds_what_reaches_the_deltas():
    largest = {}
    for clamp in (0.0, 1e-5):
        model = in_double_precision("MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", str(clamp))
        shift = shift_of(model)
        detector_loss(model, shift, DETECTOR).backward()
        largest[clamp] = shift.grad.abs().max().item()
    assert largest[0.0] > 1e-4 and largest[1e-5] == pytest.approx(1e-5)


def test_bins_are_those_of_the_released_networks():
    for net, bins in (("zf", 6), ("vgg16", 7)):
        assert build(net).roi_heads.box_pooler.level_poolers[0].output_size == (bins, bins)


def test_gradient_goes_through_mixed_precision():
    """Boxes and the warp stay in single precision; gradients agree with it as far as features in bfloat16 allow."""
    gradients = []
    for enabled in (False, True):
        model = build("zf", *NO_DROPOUT, *NO_CLAMP)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = losses_of(model, [small_image(1)])
        gradients.append(gradients_of(model, sum(losses[name] for name in DETECTOR))[BOX_LAYER].flatten())
    assert gradients[1].dtype == torch.float32
    assert torch.cosine_similarity(*gradients, dim=0) > 0.5


def test_proposals_that_have_a_graph_can_be_drawn():
    """detectron2's VIS_PERIOD."""
    model = build("zf", "VIS_PERIOD", "1")
    with EventStorage(0) as storage:
        storage.step()
        model([small_image(1)])
        assert len(storage._vis_data) == 1


@pytest.mark.parametrize("net", ["zf", "vgg16"])
def test_training_from_plan_to_detections(net, shapes, tmp_path):
    weights = str(tmp_path / "initial.pth")
    write_initial_weights(small_config(net), weights)
    words = ["MODEL.WEIGHTS", weights]
    assert main(arguments(net, shapes, tmp_path / "run", *words, kind="joint_nonapproximate")) == 0
    with open(tmp_path / "run" / "step1_joint" / "metrics.json") as file:
        last = [json.loads(line) for line in file][-1]
    assert all(np.isfinite(last[name]) for name in DETECTOR | RPN)
    assert list((tmp_path / "run" / "inference").glob("*/detections.jsonl"))


def trained(shapes, folder, *opts):
    """The network after a training in which the RPN has no loss of its own and nothing decays."""
    alone = ["SOLVER.LOSS_WEIGHTS", "['loss_rpn_cls', 0.0, 'loss_rpn_loc', 0.0]", "SOLVER.WEIGHT_DECAY", "0.0"]
    words = ["MODEL.WEIGHTS", "", "SEED", "1", *alone, *opts]
    assert main(arguments("zf", shapes, folder, *words, kind="joint_nonapproximate")) == 0
    return read_checkpoint(str(folder / "model_final.pth"))["model"]


def test_detectors_losses_alone_train_the_box_layer_and_under_the_approximation_nothing_does(shapes, tmp_path):
    fixed = trained(shapes, tmp_path / "fixed", "MODEL.FREEZE_PATTERNS", "['^(?!.*cls_score)']")
    exact = trained(shapes, tmp_path / "exact")
    approximate = trained(shapes, tmp_path / "approximate", *OFF)
    assert not torch.equal(exact[BOX_LAYER], fixed[BOX_LAYER])
    assert torch.equal(approximate[BOX_LAYER], fixed[BOX_LAYER])
    for state in (exact, approximate):  # the detector learns with either, and the scores with neither
        assert not torch.equal(state[DETECTOR_LAYER], fixed[DETECTOR_LAYER])
        assert torch.equal(state[SCORE_LAYER], fixed[SCORE_LAYER])
