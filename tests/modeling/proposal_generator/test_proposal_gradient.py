"""What flows back from proposals into the RPN's deltas in non-approximate joint training (SPEC 7.2)."""

from frcnn_alt.modeling.proposal_generator import ProposalGradient

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from oracles.box_coding import clamp_scales, decode_matlab, decode_pyfrcnn
from oracles.roi_warp import finite_differences
from small_rpn import STATISTICS, grid, ground_truth, inclusive, make_rpn, run_losses

SIZE = (96, 128)
# All boxes are kept, in the order of their scores, so that proposal i is that of the anchor with the i-th best score.
KEEP_ALL = ["MODEL.RPN.NMS_THRESH", 1.0, "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 0]
ON = [*KEEP_ALL, "MODEL.RPN.PROPOSAL_GRADIENT", True]
NORMALISED = ["MODEL.RPN.BBOX_REG_STATISTICS", "measured"]
RAW = ["MODEL.RPN.BBOX_REG_STATISTICS", "none"]
MNC = ["MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS", "clipped_boxes"]


def propose(rpn, anchors, deltas, logits=None, sizes=(SIZE,)):
    rpn.train()
    if logits is None:
        logits = torch.arange(len(anchors), 0, -1.0).expand(len(deltas), -1)
    return rpn.predict_proposals([anchors], [logits], [deltas], list(sizes))


def boxes_inside(*boxes):
    return Boxes(torch.tensor(boxes, dtype=torch.float32))


ANCHOR = boxes_inside([40.0, 30.0, 72.0, 54.0])  # 32 x 24, far from all edges


def gradient_of_side(rpn, deltas, combination):
    """d (combination of x1, y1, x2, y2) / d (dx, dy, dw, dh) of the one proposal of ANCHOR."""
    leaf = torch.tensor([[deltas]], requires_grad=True)
    (proposals,) = propose(rpn, ANCHOR, leaf)
    (proposals.proposal_boxes.tensor[0] * torch.tensor(combination)).sum().backward()
    return leaf.grad[0, 0].tolist()


@pytest.mark.parametrize("decoding", ["inverse", "one_pixel_larger"])
def test_centre_moves_by_the_anchors_side_and_a_side_by_itself(decoding):
    """d xc / d dx = wa and d w / d dw = w, and likewise in y; nothing else."""
    rpn = make_rpn(*ON, *RAW, "MODEL.BBOX_DECODING", decoding)
    deltas = [0.1, -0.2, 0.3, -0.1]
    width, height = 32 * np.exp(0.3), 24 * np.exp(-0.1)
    for combination, expected in (
        ([0.5, 0.0, 0.5, 0.0], [32, 0, 0, 0]),
        ([0.0, 0.5, 0.0, 0.5], [0, 24, 0, 0]),
        ([-1.0, 0.0, 1.0, 0.0], [0, 0, width, 0]),
        ([0.0, -1.0, 0.0, 1.0], [0, 0, 0, height]),
    ):
        assert gradient_of_side(rpn, deltas, combination) == pytest.approx(expected, abs=1e-4)


def test_statistics_scale_the_gradient():
    """The network's output is (delta - mean) / std, so its derivatives are those of the deltas times std."""
    rpn = make_rpn(*ON, *NORMALISED)
    rpn.set_box_statistics(*map(torch.tensor, STATISTICS))
    std = STATISTICS[1][0]
    assert gradient_of_side(rpn, [0.0] * 4, [0.5, 0.0, 0.5, 0.0]) == pytest.approx([32 * std[0], 0, 0, 0], abs=1e-4)
    width = 32 * np.exp(STATISTICS[0][0][2])
    assert gradient_of_side(rpn, [0.0] * 4, [-1.0, 0.0, 1.0, 0.0]) == pytest.approx([0, 0, width * std[2], 0], abs=1e-4)


def slope(anchor, deltas, upstream, decode):
    """What the oracle's decoded box, moved into the image, gives by differences; in continuous corners."""
    edges = [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]
    return finite_differences(
        lambda d: np.clip(np.add(decode(anchor, clamp_scales(d)), [0, 0, 1, 1]), 0, edges) @ upstream, deltas, 1e-6
    )


PRESETS = {preset: make_rpn(*ON, *RAW, preset=preset) for preset in ("paper", "pyfrcnn")}


@pytest.mark.parametrize("preset, decode", [("paper", decode_matlab), ("pyfrcnn", decode_pyfrcnn)])
@given(seed=st.integers(0, 10**6))
def test_gradient_of_all_proposals_is_the_oracles_slope(preset, decode, seed):
    """Any boxes, also clipped ones: the slope of a clipped coordinate is 0, that of the others is not."""
    rpn = PRESETS[preset]
    anchors = Boxes.cat(grid(rpn, *SIZE))
    random = np.random.RandomState(seed)
    deltas = random.randn(len(anchors), 4) * 0.4
    leaf = torch.tensor(deltas[None], dtype=torch.float32, requires_grad=True)
    order = torch.from_numpy(random.permutation(len(anchors)))
    (proposals,) = propose(rpn, anchors, leaf, order[None].float())
    upstream = random.randn(len(proposals), 4)
    (proposals.proposal_boxes.tensor * torch.from_numpy(upstream)).sum().backward()
    scores = proposals.objectness_logits.tolist()  # some boxes lie outside and are no proposals
    ranks = [scores.index(score) if score in scores else None for score in order.tolist()]
    anchors = inclusive(anchors.tensor)
    for n in range(seed % 17, len(anchors), 17):
        expected = np.zeros(4) if ranks[n] is None else slope(anchors[n], deltas[n], upstream[ranks[n]], decode)
        np.testing.assert_allclose(leaf.grad[0, n].numpy(), expected, rtol=1e-3, atol=1e-3)


def test_clipped_coordinates_are_constants_and_the_others_are_not():
    """x1 and y2 of this box lie outside; its x2 still moves with dx and dw, and x1 does not."""
    rpn = make_rpn(*ON, *RAW)
    anchor = boxes_inside([8.0, 60.0, 40.0, 92.0])
    for column, moves in enumerate([False, True, True, False]):
        leaf = torch.tensor([[[-0.5, 0.5, 0.0, 0.0]]], requires_grad=True)
        (proposals,) = propose(rpn, anchor, leaf)
        assert proposals.proposal_boxes.tensor[0].tolist() == [0.0, 76.0, 24.0, 96.0]
        proposals.proposal_boxes.tensor[0, column].backward()
        assert leaf.grad.any().item() == moves


@pytest.mark.parametrize(
    "anchor, dx, moves",
    [
        ([40.0, 30.0, 72.0, 54.0], 0.5, True),
        ([0.0, 30.0, 32.0, 54.0], 0.5, True),  # an anchor on the edge crosses nothing
        ([0.0, 30.0, 32.0, 54.0], 0.0, True),  # nor was a box on the edge clipped
        ([16.0, 30.0, 48.0, 54.0], -1.0, False),  # box clipped
        ([-16.0, 30.0, 16.0, 54.0], 1.0, False),  # anchor crosses, box inside
        ([96.0, 30.0, 128.0, 54.0], 0.0, True),
        ([97.0, 30.0, 129.0, 54.0], -1.0, False),
    ],
)
def test_with_mnc_clipped_boxes_and_boxes_of_crossing_anchors_are_constants(anchor, dx, moves):
    rpn = make_rpn(*ON, *RAW, *MNC)
    leaf = torch.tensor([[[dx, 0.0, 0.0, 0.0]]], requires_grad=True)
    (proposals,) = propose(rpn, boxes_inside(anchor), leaf)
    proposals.proposal_boxes.tensor.sum().backward()
    assert leaf.grad.any().item() == moves
    if moves and anchor[0] + 32 * dx > 0 and anchor[2] + 32 * dx < 128:
        assert leaf.grad[0, 0, 0] == 64  # both corners


def test_with_mnc_each_image_has_its_own_edges():
    rpn = make_rpn(*ON, *RAW, *MNC)
    leaf = torch.zeros(2, 1, 4, requires_grad=True)
    results = propose(rpn, ANCHOR, leaf, sizes=[(96, 128), (96, 70)])  # the second is narrower than the anchor's x2
    sum(image.proposal_boxes.tensor.sum() for image in results).backward()
    assert leaf.grad[0].any() and not leaf.grad[1].any()


@pytest.mark.parametrize("constants", ["clipped_coordinates", "clipped_boxes"])
def test_proposals_are_the_same_with_and_without_gradient(constants):
    """Nothing about the forward pass changes, with ties of scores, NMS, and boxes that are too small."""
    anchors = Boxes.cat(grid(make_rpn(), *SIZE))
    torch.manual_seed(1)
    deltas, logits = torch.randn(2, len(anchors), 4) * 0.5, torch.randint(5, (2, len(anchors))).float()
    results = []
    for keys in ([], ["MODEL.RPN.PROPOSAL_GRADIENT", True, "MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS", constants]):
        rpn = make_rpn(*keys, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 20)
        leaves = deltas.clone().requires_grad_(), logits.clone().requires_grad_()
        proposals = propose(rpn, anchors, *leaves, sizes=[SIZE, (90, 100)])
        assert all(image.proposal_boxes.tensor.requires_grad == bool(keys) for image in proposals)
        assert not any(image.objectness_logits.requires_grad for image in proposals)
        results.append(proposals)
    for without, with_gradient in zip(*results):
        assert len(without) == 20
        assert torch.equal(without.proposal_boxes.tensor, with_gradient.proposal_boxes.tensor)
        assert torch.equal(without.objectness_logits, with_gradient.objectness_logits)


def test_suppressed_boxes_and_scores_get_none():
    """Two equal boxes: the worse one is suppressed, so nothing depends on it; scores only decide."""
    rpn = make_rpn(*ON, *RAW, "MODEL.RPN.NMS_THRESH", 0.7)
    leaf, logits = torch.zeros(1, 2, 4, requires_grad=True), torch.tensor([[1.0, 2.0]], requires_grad=True)
    (proposals,) = propose(rpn, Boxes.cat([ANCHOR, ANCHOR]), leaf, logits)
    assert len(proposals) == 1
    proposals.proposal_boxes.tensor.square().sum().backward()
    assert not leaf.grad[0, 0].any() and leaf.grad[0, 1].all()
    assert logits.grad is None


def test_at_test_time_and_without_the_key_proposals_are_constants():
    leaf = torch.zeros(1, 1, 4, requires_grad=True)
    (without_key,) = propose(make_rpn(*KEEP_ALL), ANCHOR, leaf)
    rpn = make_rpn(*ON).eval()
    (at_test,) = rpn.predict_proposals([ANCHOR], [torch.zeros(1, 1)], [leaf], [SIZE])
    with torch.no_grad():
        (nobody_asked,) = propose(make_rpn(*ON), ANCHOR, leaf)
    for proposals in (without_key, at_test, nobody_asked):
        assert len(proposals) == 1 and not proposals.proposal_boxes.tensor.requires_grad


def test_clamp_limits_each_number_of_the_detectors_gradient():
    """1 / 512 in MNC: what is larger is cut, what is smaller stays, signs too."""
    clamp = 1 / 512
    gradients = []
    for keys in ([], ["MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", clamp]):
        leaf = torch.zeros(1, 1, 4, requires_grad=True)
        (proposals,) = propose(make_rpn(*ON, *RAW, *keys), ANCHOR, leaf)
        (proposals.proposal_boxes.tensor[0] * torch.tensor([1e-3, 1e-5, -2e-3, 3e-5])).sum().backward()
        gradients.append(leaf.grad[0, 0])
    free, clamped = gradients
    assert free[0] < -clamp and free[2] < -clamp and 0 < free[3] < clamp
    assert torch.equal(clamped, free.clamp(-clamp, clamp)) and not torch.equal(clamped, free)


def test_clamp_leaves_the_rpns_own_loss_alone():
    gradients = []
    for keys in ([], ["MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", 1e-6]):
        rpn = make_rpn(*ON, *RAW, *keys)
        anchors = grid(rpn, *SIZE)
        leaf = torch.ones(1, len(anchors[0]), 4, requires_grad=True)
        torch.manual_seed(0)
        labels, boxes = rpn.label_and_sample_anchors(anchors, [ground_truth([[35.0, 30, 70, 60]])])
        loss = run_losses(rpn, anchors, torch.zeros(1, len(anchors[0])), labels, leaf, boxes)["loss_rpn_loc"]
        (loss + 0 * propose(rpn, anchors[0], leaf)[0].proposal_boxes.tensor.sum()).backward()
        gradients.append(leaf.grad)
    assert gradients[0].abs().max() > 1e-3 and torch.equal(*gradients)


def test_a_frozen_network_is_no_error():
    """With backbone and RPN fixed the deltas have no graph, so there is nothing to clamp."""
    rpn = make_rpn(*ON, "MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", 0.1, *MNC)
    (proposals,) = propose(rpn, ANCHOR, torch.zeros(1, 1, 4))
    assert len(proposals) == 1 and not proposals.proposal_boxes.tensor.requires_grad


def test_a_diverged_training_is_still_named():
    with pytest.raises(FloatingPointError, match="image 0"):
        propose(make_rpn(*ON, *MNC), ANCHOR, torch.full((1, 1, 4), float("nan"), requires_grad=True))


@pytest.mark.parametrize(
    "arguments, message",
    [(("clipped",), "PROPOSAL_GRADIENT_CONSTANTS is 'clipped'"), (("clipped_boxes", -1), "CLAMP is -1")],
)
def test_bad_values_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProposalGradient(*arguments)
