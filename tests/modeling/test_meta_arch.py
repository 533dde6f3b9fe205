"""FasterRCNN and FasterRCNNProposalNetwork tell scale and name of every image, and leave nothing behind."""

from types import SimpleNamespace

from frcnn_alt.modeling.proposal_generator import ImageFacts, current_image_facts, image_facts

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from one_convolution_backbone import one_convolution_model

MODELS = ["FasterRCNN", "FasterRCNNProposalNetwork"]
STOCK = {"FasterRCNN": "GeneralizedRCNN", "FasterRCNNProposalNetwork": "ProposalNetwork"}


def make_model(meta_architecture, *overrides):
    return one_convolution_model(
        *("MODEL.META_ARCHITECTURE", meta_architecture),
        *("MODEL.PROPOSAL_GENERATOR.NAME", "FasterRCNNRPN"),
        *("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 16),
        *("MODEL.ANCHOR_GENERATOR.NAME", "FasterRCNNAnchorGenerator"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32, 64]]),
        *("MODEL.RPN.HEAD_NAME", "SoftmaxRPNHead"),
        *("MODEL.RPN.BOUNDARY_THRESH", 0),
        *("MODEL.RPN.NMS_THRESH", 1.0),  # leaves all proposals, so that their sides can be looked at
        *overrides,
    )


def one_input(**entries):
    """One image of 96 x 128 network pixels; `entries` may say how large the original was."""
    height, width = 96, 128
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
    run(model, [one_input(height=48, width=64), one_input()])
    run(model, [one_input(height=64, width=160)])
    run(model, [one_input()])
    assert seen.scales == [[(2.0, 2.0), (1.0, 1.0)], [(1.5, 0.8)], [(1.0, 1.0)]]


@pytest.mark.parametrize("meta_architecture", MODELS)
def test_smallest_proposal_is_16_pixels_of_the_original(meta_architecture, seen):
    enlarged = [one_input(height=48, width=64)]
    run(make_model(meta_architecture).eval(), enlarged)
    run(make_model(STOCK[meta_architecture]).eval(), enlarged)  # knows no scale, and works
    ours, stock = seen.sides
    assert ours >= 32 > stock >= 16


@pytest.mark.parametrize("meta_architecture", MODELS)
def test_same_results_as_stock_where_images_are_not_resized(meta_architecture):
    inputs, results = [one_input()], []
    for name in (meta_architecture, STOCK[meta_architecture]):
        model = make_model(name)
        torch.manual_seed(7)
        losses = run(model, inputs)
        (output,) = run(model.eval(), inputs)
        (instances,) = output.values()
        fields = instances.get_fields().values()
        results.append((losses, [f.tensor if isinstance(f, Boxes) else f for f in fields]))
    assert results[0][0].keys() == results[1][0].keys()
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_inference_called_directly_knows_the_scales(seen):
    model = make_model("FasterRCNN").eval()
    enlarged = [one_input(height=48, width=64)]
    raw = model.inference(enlarged, do_postprocess=False)
    assert raw[0].image_size == (96, 128)
    known = Instances((96, 128), pred_boxes=raw[0].pred_boxes[:1], pred_classes=raw[0].pred_classes[:1])
    model.inference(enlarged, [known], do_postprocess=False)  # runs no proposal generator
    assert seen.scales == [[(2.0, 2.0)]]


def test_precomputed_proposals_need_no_proposal_generator():
    model = make_model("FasterRCNN", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals")
    assert model.proposal_generator is None
    inputs = [one_input(height=48, width=64)]
    assert set(run(model, inputs)) == {"loss_cls", "loss_box_reg"}
    (output,) = run(model.eval(), inputs)
    assert output["instances"].image_size == (48, 64)


@pytest.mark.parametrize("meta_architecture", MODELS)
def test_nothing_is_left_for_the_next_call(meta_architecture):
    model = make_model(meta_architecture).eval()
    run(model, [one_input(height=48, width=64)])
    assert current_image_facts(1) == [ImageFacts((1.0, 1.0), "")]
    model.backbone.conv = torch.nn.Conv2d(1, 4, kernel_size=16, stride=16)  # fails on images of 3 channels
    with pytest.raises(RuntimeError):
        run(model, [one_input(height=48, width=64)])
    assert current_image_facts(1) == [ImageFacts((1.0, 1.0), "")]


def test_an_image_is_called_by_its_id_else_by_its_file():
    named = [
        {"image_id": 7, "file_name": "a.jpg"},
        {"image_id": "000012"},
        {"file_name": "b/c.jpg"},
        {"image_id": 0},
        {},
    ]
    with image_facts([one_input(**entries) for entries in named]):
        assert [facts.name for facts in current_image_facts(5)] == ["7", "000012", "b/c.jpg", "0", ""]


def test_facts_of_another_number_of_images_are_refused():
    with image_facts([one_input(), one_input()]), pytest.raises(ValueError, match="given 2 images"):
        current_image_facts(1)


def test_training_all_of_it_without_proposals_is_refused():
    model = make_model("FasterRCNN", "MODEL.RPN.PROPOSALS_IN_TRAINING", False)
    with pytest.raises(ValueError, match="PROPOSALS_IN_TRAINING"):
        run(model, [one_input()])
    assert len(run(model.eval(), [one_input()])) == 1
    alone = make_model("FasterRCNNProposalNetwork", "MODEL.RPN.PROPOSALS_IN_TRAINING", False)
    assert set(run(alone, [one_input()])) == {"loss_rpn_cls", "loss_rpn_loc"}
