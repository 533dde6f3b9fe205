"""Regions that go through the box head part by part at test: the same detections."""

import pytest
import torch
from detectron2.structures import Boxes, ImageList
from region_scenes import make_proposals, preset_config, preset_roi_heads

SIZE = (160, 192)


def heads(chunk, network="ZF"):
    cfg = preset_config("paper", network)
    cfg.MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST = chunk
    found = preset_roi_heads(cfg).eval()
    with torch.no_grad():
        found.box_predictor.cls_score.weight.mul_(30)
    return found, cfg.MODEL.ROI_HEADS.IN_FEATURES[0]


def detect(chunk, counts, network="ZF"):
    """(detections of each image, numbers of regions that the box head was given)."""
    roi_heads, feature = heads(chunk, network)
    lengths = []
    roi_heads.box_head.register_forward_hook(lambda module, inputs, output: lengths.append(len(inputs[0])))
    torch.manual_seed(1)
    features = {feature: torch.randn(len(counts), 6, 10, 12)}
    proposals = []
    for count in counts:
        corners = torch.rand(count, 2) * 100
        boxes = torch.cat([corners, corners + 10 + torch.rand(count, 2) * 50], dim=1)
        proposals.append(make_proposals(boxes, SIZE))
    images = ImageList(torch.zeros(len(counts), 3, *SIZE), [SIZE] * len(counts))
    with torch.no_grad():
        return roi_heads(images, features, proposals, None)[0], lengths


@pytest.mark.parametrize("network", ["ZF", "VGG16"])
@pytest.mark.parametrize(
    "counts, lengths",
    [((61,), [20, 20, 20, 1]), ((45, 0, 70), [40, 40, 25, 10]), ((20, 21), [40, 1]), ((0,), [0]), ((20, 3), [23])],
)
def test_detections_are_those_of_all_regions_at_once(counts, lengths, network):
    (whole, at_once), (parts, seen) = (detect(chunk, counts, network) for chunk in (4096, 20))
    assert at_once == [sum(counts)] and seen == lengths
    for one, other in zip(whole, parts):
        assert len(one) == len(other)
        torch.testing.assert_close(one.scores, other.scores, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor, atol=1e-3, rtol=1e-5)
        assert torch.equal(one.pred_classes, other.pred_classes)
    assert sum(map(len, whole)) > 10 or sum(counts) == 0


def test_training_is_not_divided():
    roi_heads, feature = heads(2)
    proposals = make_proposals([[0, 0, 90, 90], [8, 8, 99, 99], [30, 0, 120, 90], [0, 9, 90, 99]], SIZE)
    proposals.gt_boxes = Boxes(torch.tensor([[0.0, 0, 90, 90]] * 4))
    proposals.gt_classes = torch.tensor([0, 1, 3, 3])
    lengths = []
    roi_heads.box_head.register_forward_hook(lambda module, inputs, output: lengths.append(len(inputs[0])))
    from detectron2.utils.events import EventStorage

    with EventStorage():
        losses = roi_heads.train()._forward_box({feature: torch.randn(1, 6, 10, 12)}, [proposals])
    assert set(losses) == {"loss_cls", "loss_box_reg"} and lengths == [4]


def test_a_chunk_holds_a_region_at_least():
    with pytest.raises(ValueError, match="MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST is 0"):
        heads(0)
