"""SPEC 8.1: no NMS, no cls, no reg, alone and together, with both presets, against a slow version of the rule.

With random draws the oracle is told the lots; that they are fair is shown in test_random_draw.py.
"""

import itertools

from frcnn_alt.modeling.proposal_generator import ProposalSwitches, draw_lots, image_facts, select_proposals

import numpy as np
import pytest
import torch
from decoded_boxes import UNITS, continuous, decoded_anchors, hang_on_rounding
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.utils.events import EventStorage
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from one_convolution_backbone import one_convolution_config, one_convolution_model
from oracles import proposal_selection as oracle
from small_rpn import IMAGES, grid, inclusive, make_rpn

PRESETS = ("paper", "pyfrcnn")
HEIGHT, WIDTH = 48, 64
BEFORE, AFTER, SEED, NAME = 40, 25, 5, "000017"


def keys(nms=True, ranking=True, regression=True):
    switches = ("NMS_TEST", nms, "RANKING_TEST", ranking, "REGRESSION_TEST", regression)
    return [f"MODEL.RPN.{word}" if isinstance(word, str) else word for word in switches]


def make(preset, *switches):
    limits = ["MODEL.RPN.PRE_NMS_TOPK_TEST", BEFORE, "MODEL.RPN.POST_NMS_TOPK_TEST", AFTER]
    rpn = make_rpn(*keys(*switches), *limits, "MODEL.RPN.RANDOM_DRAW_SEED", SEED, preset=preset).eval()
    if preset == "paper":
        rpn.set_box_statistics(*map(torch.tensor, UNITS[preset]))
    return rpn


RPN = {(preset, *s): make(preset, *s) for preset in PRESETS for s in itertools.product((True, False), repeat=3)}


def predict(rpn, anchors, scores, deltas, enlarged=1.0, size=(HEIGHT, WIDTH)):
    height, width = size
    image = {"image": torch.zeros(3, height, width), "height": height / enlarged, "width": width / enlarged}
    with image_facts([{**image, "image_id": NAME}]):
        (result,) = rpn.predict_proposals(
            anchors, [torch.as_tensor(scores)[None]], [torch.as_tensor(deltas)[None]], [size]
        )
    return result.proposal_boxes.tensor.numpy(), result.objectness_logits.numpy()


@pytest.mark.parametrize("key", RPN, ids=lambda key: "-".join(map(str, key)))
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), enlarged=st.sampled_from([0.5, 1.0, 1.6]), scatter=st.sampled_from([0.05, 0.8]))
def test_any_combination_follows_the_rule(key, seed, enlarged, scatter):
    (preset, nms, ranking, regression), rpn = key, RPN[key]
    anchors = grid(rpn, HEIGHT, WIDTH)
    random = np.random.default_rng(seed)
    deltas = (scatter * random.standard_normal((len(anchors[0]), 4))).astype(np.float32)
    scores = random.permutation(len(deltas)).astype(np.float32) / 8 - 4
    boxes = decoded_anchors(preset, anchors[0].tensor, deltas) if regression else inclusive(anchors[0].tensor).tolist()
    assume(not regression or not hang_on_rounding(boxes, HEIGHT, WIDTH, 16 * enlarged, 0.7))

    image = (HEIGHT, WIDTH, (enlarged, enlarged))
    if ranking:
        limits = {"before_nms": BEFORE, "after_nms": AFTER, "threshold": 0.7 if nms else None}
        expected = oracle.select_proposals(boxes, scores, *image, **limits)
        expected_boxes, expected_scores = [box for box, _ in expected], [score for _, score in expected]
    else:
        expected_boxes = oracle.draw_proposals(boxes, draw_lots(len(boxes), SEED, NAME), *image, number=AFTER)
        expected_scores = [-place for place in range(len(expected_boxes))]
    kept_boxes, kept_scores = predict(rpn, anchors, scores, deltas, enlarged)
    np.testing.assert_array_equal(kept_scores, expected_scores)
    np.testing.assert_allclose(kept_boxes, continuous(expected_boxes).reshape(-1, 4), atol=1e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_without_regression_proposals_are_the_anchors_whatever_the_layer_says(preset):
    """Not what zero deltas make of them: py-faster-rcnn's decoding would add a pixel, the paper's the mean delta."""
    rpn = make(preset, False, True, False)
    height, width = 192, 256
    anchors = grid(rpn, height, width)
    whole = {tuple(box) for box in anchors[0].tensor.tolist()}
    deltas = torch.full((len(anchors[0]), 4), float("nan"))
    torch.manual_seed(4)
    boxes, _ = predict(rpn, anchors, torch.randn(len(deltas)), deltas, size=(height, width))
    inside = [tuple(box) for box in boxes.tolist() if min(box[:2]) > 0 and box[2] < width and box[3] < height]
    assert len(boxes) == AFTER and len(inside) > 5
    assert set(inside) <= whole


def test_without_ranking_no_score_is_looked_at():
    rpn = make("paper", True, False, True)
    anchors = grid(rpn)
    deltas = torch.randn(len(anchors[0]), 4) / 4
    first, second = (
        predict(rpn, anchors, scores, deltas, size=(96, 128))
        for scores in (torch.randn(len(deltas)), torch.full((len(deltas),), float("nan")))
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_no_nms_is_stock_with_a_threshold_that_nothing_exceeds():
    """SPEC 8.1, also over several levels."""
    torch.manual_seed(1)
    corners = [torch.rand(2, count, 2) * 60 for count in (40, 10)]
    boxes = [torch.cat([corner, corner + 5 + 20 * torch.rand_like(corner)], dim=2) for corner in corners]
    boxes[1][:, 5:] = boxes[0][:, :5]  # the same box in two levels, and
    boxes[0][:, 20:30] = boxes[0][:, 30:]  # in one
    logits = [torch.randn(2, 40), torch.randn(2, 10)]
    sizes = [(100, 100), (90, 95)]
    stock = find_top_rpn_proposals(boxes, logits, sizes, 1.0, 30, 35, 0.0, False)
    limits = {"min_box_size": 0.0, "pre_nms_topk": 30, "nms_thresh": None, "post_nms_topk": 35}
    ours = select_proposals(boxes, logits, sizes, [(1.0, 1.0)] * 2, training=False, **limits)
    for a, b in zip(ours, stock):
        assert len(a) == 35
        np.testing.assert_array_equal(a.proposal_boxes.tensor, b.proposal_boxes.tensor)
        np.testing.assert_array_equal(a.objectness_logits, b.objectness_logits)


@pytest.mark.parametrize("gradient", [False, True])
def test_training_sees_none_of_them(gradient):
    """Joint training, with and without the gradient through proposals."""
    proposals = []
    for switches in ((True, True, True), (False, False, False)):
        rpn = make_rpn(*keys(*switches), "MODEL.RPN.PROPOSAL_GRADIENT", gradient).train()
        torch.manual_seed(2)
        with EventStorage(), torch.no_grad() if not gradient else torch.enable_grad():
            anchors = grid(rpn)
            count = len(anchors[0])
            logits, deltas = torch.randn(1, count), torch.randn(1, count, 4, requires_grad=gradient)
            (found,) = rpn.predict_proposals(anchors, [logits], [deltas], [IMAGES[0].image_size])
        assert found.proposal_boxes.tensor.requires_grad == gradient
        proposals.append((found.proposal_boxes.tensor.detach(), found.objectness_logits))
    torch.testing.assert_close(*proposals)
    assert len(proposals[0][0]) > 10 and (proposals[0][1] % 1 != 0).any()


def test_the_generator_inside_an_unshared_one_obeys_and_knows_the_images():
    names = ["MODEL.META_ARCHITECTURE", "FasterRCNN", "MODEL.PROPOSAL_GENERATOR.NAME", "UnsharedProposalGenerator"]
    names += ["MODEL.PROPOSAL_GENERATOR.INNER_NAME", "FasterRCNNRPN", *keys(True, False, True)]
    model = one_convolution_model(*names, "MODEL.RPN.POST_NMS_TOPK_TEST", 7).eval()
    assert model.proposal_generator.proposal_generator.switches == ProposalSwitches(ranking=False)
    seen = []
    model.proposal_generator.register_forward_hook(lambda module, inputs, output: seen.extend(output[0]))
    image = torch.rand(3, 64, 96) * 255
    with torch.no_grad():
        model([{"image": image, "image_id": name} for name in ("a", "b", "a")])
    a, b, again = (found.proposal_boxes.tensor for found in seen)
    assert len(a) == 7 and torch.equal(a, again) and not torch.equal(a, b)
    assert [found.objectness_logits.tolist() for found in seen] == [[0, -1, -2, -3, -4, -5, -6]] * 3


def test_negative_seed_is_refused():
    cfg = one_convolution_config("MODEL.PROPOSAL_GENERATOR.NAME", "FasterRCNNRPN", "MODEL.RPN.RANDOM_DRAW_SEED", -1)
    with pytest.raises(ValueError, match="MODEL.RPN.RANDOM_DRAW_SEED is -1: it must be 0 or more"):
        build_proposal_generator(cfg, {"conv": ShapeSpec(channels=4, stride=16)})
