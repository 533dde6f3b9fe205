"""The RPN's deltas there and back in both programs' ways, and the way from deltas to proposals (SPEC 4.4, 4.5)."""

import math

from frcnn_alt.modeling.proposal_generator import image_facts

import numpy as np
import pytest
import torch
from decoded_boxes import DECODE, UNITS, continuous, decoded_anchors, hang_on_rounding
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles.box_coding import LARGEST_SCALE_DELTA, clamp_scales, encode
from oracles.proposal_selection import select_proposals
from small_rpn import grid, inclusive, make_rpn

RPN = {preset: make_rpn(preset=preset).eval() for preset in DECODE}


def boxes(lowest, highest):
    side = st.tuples(st.integers(-500, 500), st.integers(lowest, highest))
    return st.tuples(side, side).map(lambda b: [b[0][0], b[1][0], b[0][0] + b[0][1], b[1][0] + b[1][1]])


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


@pytest.mark.parametrize("preset", DECODE)
@given(anchor=boxes(1, 700), target=boxes(1, 700))
def test_targets_are_equation_2_in_both_programs(preset, anchor, target):
    deltas = RPN[preset].box2box_transform.get_deltas(tensor(anchor), tensor(target))
    expected = encode(inclusive(anchor)[0], inclusive(target)[0])
    np.testing.assert_allclose(deltas[0].numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("preset", DECODE)
@given(anchor=boxes(1, 700), deltas=st.tuples(*[st.floats(-3, 3)] * 2, *[st.floats(-3, 6)] * 2))
def test_boxes_are_decoded_as_each_program_does_it(preset, anchor, deltas):
    decoded = RPN[preset].box2box_transform.apply_deltas(tensor(deltas), tensor(anchor))
    expected = continuous(DECODE[preset](inclusive(anchor)[0], clamp_scales(deltas)))
    np.testing.assert_allclose(decoded[0].numpy(), expected, rtol=1e-4, atol=1e-2)


@given(anchor=boxes(20, 700), target=boxes(20, 700))
def test_the_papers_decoding_is_the_inverse_of_the_coding_and_the_other_is_not(anchor, target):
    assume(max(target[i + 2] - target[i] for i in (0, 1)) < 60 * min(anchor[i + 2] - anchor[i] for i in (0, 1)))
    for preset, larger in (("paper", 0), ("pyfrcnn", 1)):
        transform = RPN[preset].box2box_transform
        decoded = transform.apply_deltas(transform.get_deltas(tensor(anchor), tensor(target)), tensor(anchor))
        expected = np.array(target) + [0, 0, larger, larger]
        np.testing.assert_allclose(decoded[0].numpy(), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("preset", "box"), [("paper", [0, 0, 15, 15]), ("pyfrcnn", [0, 0, 16, 16])])
def test_zero_deltas_on_the_box_of_16_pixels(preset, box):
    """SPEC 4.4 in inclusive pixels."""
    assert DECODE[preset]([0, 0, 15, 15], [0.0] * 4) == box
    decoded = RPN[preset].box2box_transform.apply_deltas(torch.zeros(1, 4), tensor(continuous([0, 0, 15, 15])))
    assert inclusive(decoded)[0].tolist() == box


def test_scales_are_clamped_at_1000_over_16():
    """detectron2's; the original programs do not clamp."""
    assert pytest.approx(4.135, abs=5e-4) == LARGEST_SCALE_DELTA
    transform = RPN["pyfrcnn"].box2box_transform
    for delta, side in ((math.log(62), 620), (math.log(62.5), 625), (5.0, 625), (50.0, 625)):
        x1, y1, x2, y2 = transform.apply_deltas(tensor([0, 0, delta, delta]), tensor([0, 0, 10, 10]))[0].tolist()
        assert (x2 - x1 - 1, y2 - y1 - 1) == (pytest.approx(side, rel=1e-4), pytest.approx(side, rel=1e-4))


@pytest.mark.parametrize("preset", DECODE)
@given(seed=st.integers(0, 10**6), enlarged=st.sampled_from([0.5, 1.0, 1.6]), scatter=st.sampled_from([0.05, 1.5]))
def test_all_anchors_become_proposals_by_the_rule(preset, seed, enlarged, scatter):
    """All are decoded, also those that cross the boundary; then clipped, dropped, ordered, suppressed."""
    rpn, (height, width) = RPN[preset], (40, 56)
    if preset == "paper":
        rpn.set_box_statistics(*map(torch.tensor, UNITS[preset]))
    anchors = grid(rpn, height, width)
    random = np.random.default_rng(seed)
    deltas = (scatter * random.standard_normal((len(anchors[0]), 4))).astype(np.float32)
    scores = random.permutation(len(deltas)).astype(np.float32) / 8 - 4
    decoded = decoded_anchors(preset, anchors[0].tensor, deltas)
    assume(not hang_on_rounding(decoded, height, width, 16 * enlarged, 0.7))

    inputs = [{"image": torch.zeros(3, height, width), "height": height / enlarged, "width": width / enlarged}]
    with image_facts(inputs):
        (result,) = rpn.predict_proposals(
            anchors, [torch.from_numpy(scores)[None]], [torch.from_numpy(deltas)[None]], [(height, width)]
        )
    expected = select_proposals(decoded, scores, height, width, (enlarged, enlarged))
    assert len(result) == len(expected)
    np.testing.assert_array_equal(result.objectness_logits.numpy(), [score for _, score in expected])
    np.testing.assert_allclose(
        result.proposal_boxes.tensor.numpy(), continuous([box for box, _ in expected]).reshape(-1, 4), atol=1e-3
    )
