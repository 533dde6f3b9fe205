"""FasterRCNN and FasterRCNNProposalNetwork tell the scale of every image, and leave nothing behind."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

import frcnn_alt
from frcnn_alt.modeling.proposal_generator import current_image_scales, image_scales

MODELS = ["FasterRCNN", "FasterRCNNProposalNetwork"]
STOCK = {"FasterRCNN": "GeneralizedRCNN", "FasterRCNNProposalNetwork": "ProposalNetwork"}


class StridedBackbone(Backbone):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, kernel_size=16, stride=16)

    def forward(self, image):
        return {"conv": self.conv(image)}

    def output_shape(self):
        return {"conv": ShapeSpec(channels=4, stride=16)}


@BACKBONE_REGISTRY.register()
def build_strided_backbone(cfg, input_shape):
    return StridedBackbone()


def make_model(meta_architecture, *overrides):
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = meta_architecture
    cfg.MODEL.BACKBONE.NAME = "build_strided_backbone"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "FasterRCNNRPN"
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 16
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "FasterRCNNAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32, 64]]
    cfg.MODEL.RPN.HEAD_NAME = "SoftmaxRPNHead"
    cfg.MODEL.RPN.IN_FEATURES = ["conv"]
    cfg.MODEL.RPN.BOUNDARY_THRESH = 0
    cfg.MODEL.RPN.NMS_THRESH = 1.0  # leaves all proposals, so that their sides can be looked at
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["conv"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 2
    cfg.merge_from_list(list(overrides))
    torch.manual_seed(0)
    return build_model(cfg)


def one_input(height=96, width=128, **entries):
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 12.0, 60.0, 70.0]]))
    instances.gt_classes = torch.tensor([1])
    proposals = Instances((height, width))
    proposals.proposal_boxes = Boxes(torch.tensor([[8.0, 10.0, 60.0, 70.0], [60.0, 30.0, 100.0, 90.0]]))
    proposals.objectness_logits = torch.tensor([2.0, 1.0])
    return {"image": torch.rand(3, height, width) * 255, "instances": instances, "proposals": proposals, **entries}


@pytest.fixture
def seen(monkeypatch):
    """What every call of the selection was told: (scales, sides of the proposals of the first image)."""
    from frcnn_alt.modeling.proposal_generator import rpn

    record = SimpleNamespace(scales=[], sides=[])
    select = rpn.select_proposals

    def recording(boxes, logits, image_sizes, scales, **kwargs):
        results = select(boxes, logits, image_sizes, scales, **kwargs)
        corners = results[0].proposal_boxes.tensor
        record.scales.append(scales)
        record.sides.append((corners[:, 2:] - corners[:, :2]).min().item())
        return results

    monkeypatch.setattr(rpn, "select_proposals", recording)
    return record


def run(model, inputs):
    with EventStorage():
        return model(inputs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("meta_architecture", MODELS)
def test_scales_reach_the_selection(meta_architecture, training, seen):
    model = make_model(meta_architecture).train(training)
    # enlarged twice; height by 1.5 and width by 2; not said
    inputs = [one_input(height=48, width=64), one_input(height=64, width=64), one_input()]
    inputs = [one_input(height=48, width=64), one_input(), one_input(height=64, width=64)]
    run(model, inputs)
