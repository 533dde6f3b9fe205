"""FasterRCNNRPN as a whole: what it gives in training and at test, its limits, and values that it refuses."""

import pytest
import torch
from detectron2.structures import ImageList, pairwise_iou
from detectron2.utils.events import EventStorage
from small_rpn import CHANNELS, IMAGES, ground_truth, make_rpn


def run_forward(rpn, gt=None):
    torch.manual_seed(4)
    images = ImageList(torch.zeros(2, 3, 96, 128), [(96, 128), (90, 100)])
    with EventStorage() as storage:
        proposals, losses = rpn(images, {"conv5": torch.randn(2, CHANNELS, 6, 8)}, gt)
        return proposals, losses, storage


@pytest.mark.parametrize("preset", ["paper", "pyfrcnn"])
def test_what_the_two_programs_have_in_common(preset):
    """SPEC 4.2, 4.3 and the last two rows of 4.5."""
    rpn = make_rpn(preset=preset)
    assert rpn.pre_nms_topk == {True: 12000, False: 6000}
    assert rpn.post_nms_topk == {True: 2000, False: 300}
    assert (rpn.nms_thresh, rpn.min_box_size) == (0.7, 16)
    assert (rpn.batch_size_per_image, rpn.positive_fraction) == (256, 0.5)
    assert rpn.anchor_matcher.thresholds == [-float("inf"), 0.3, 0.7, float("inf")]
    assert rpn.anchor_matcher.labels == [0, -1, 1] and rpn.anchor_matcher.allow_low_quality_matches
    assert rpn.anchor_boundary_thresh == 0
    assert rpn.loss_weight["loss_rpn_cls"] == 1


@pytest.mark.parametrize("decoded", [True, False])
def test_training_decodes_proposals_only_where_they_are_wanted(decoded):
    rpn = make_rpn("MODEL.RPN.PROPOSALS_IN_TRAINING", decoded)
    proposals, losses, storage = run_forward(rpn, [IMAGES[0], ground_truth([[30, 30, 50, 80]], (90, 100))])
    assert [p.image_size for p in proposals] == [(96, 128), (90, 100)]
    for p in proposals:
        assert (len(p) > 0) == decoded
        assert len(p.proposal_boxes) == len(p.objectness_logits)
        assert not p.objectness_logits.requires_grad
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in rpn.rpn_head.parameters())
    assert storage.latest()["rpn/num_pos_anchors"][0] > 0

    proposals, losses, _ = run_forward(rpn.eval())
    assert losses == {} and all(len(p) > 0 for p in proposals)


@pytest.mark.parametrize("training", [True, False])
def test_limits_come_from_the_stock_keys(training):
    gt = [IMAGES[0], ground_truth([[30, 30, 50, 80]], (90, 100))]

    def counts(*overrides):
        return [len(p) for p in run_forward(make_rpn(*overrides).train(training), gt)[0]]

    before = ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 5, "MODEL.RPN.PRE_NMS_TOPK_TEST", 7)
    after = ("MODEL.RPN.POST_NMS_TOPK_TRAIN", 3, "MODEL.RPN.POST_NMS_TOPK_TEST", 4)
    everything = ("MODEL.RPN.NMS_THRESH", 1.0)
    assert counts(*everything, *before) == [5 if training else 7] * 2
    assert counts(*everything, *after) == [3 if training else 4] * 2
    assert counts(*everything)[0] == 6 * 8 * 6  # all anchors of the first image
    boxes = run_forward(make_rpn("MODEL.RPN.NMS_THRESH", 0.0).train(training), gt)[0][0].proposal_boxes
    assert len(boxes) > 1
    assert torch.equal(pairwise_iou(boxes, boxes) > 0, torch.eye(len(boxes), dtype=torch.bool))


def test_proposals_keep_to_their_image_not_to_the_padding():
    proposals, _, _ = run_forward(make_rpn().eval())
    boxes = proposals[1].proposal_boxes.tensor
    assert boxes[:, 2].max() <= 100 and boxes[:, 3].max() <= 90
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 16


def test_nan_stops_training():
    rpn = make_rpn()
    with torch.no_grad():
        rpn.rpn_head.anchor_deltas.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="image 0"):
        run_forward(rpn, IMAGES)
    assert all(len(p) > 0 for p in run_forward(rpn.eval())[0])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.RPN.BBOX_REG_NORMALIZER", "images", "BBOX_REG_NORMALIZER is 'images'"),
        ("MODEL.RPN.BBOX_REG_STATISTICS", "yes", "BBOX_REG_STATISTICS is 'yes'"),
        ("MODEL.RPN.PRE_NMS_TOPK_TEST", -1, "PRE_NMS_TOPK_TEST is -1"),
        ("MODEL.RPN.POST_NMS_TOPK_TRAIN", 0, "POST_NMS_TOPK_TRAIN is 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        make_rpn(key, value)
