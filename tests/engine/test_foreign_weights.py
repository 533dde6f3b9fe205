"""Runs that start from files of Caffe or torchvision: what the plan says of them, and what the network starts from."""

from frcnn_alt.checkpointing import load_whole_network, pixels_of_config
from frcnn_alt.engine import RPN, AlternatingTrainer, make_plan
from frcnn_alt.engine.convert import convert_weights
from frcnn_alt.engine.initialize import initialize_step
from frcnn_alt.engine.schedule import Schedule
from frcnn_alt.engine.step import WEIGHTS, Step
from frcnn_alt.engine.step_proposals import ProposalInputs
from frcnn_alt.engine.step_selection import select_steps
from frcnn_alt.engine.step_trainer import build_step_model

import numpy as np
import pytest
import torch
from miniature import run, tiny_config, weights_of
from oracles.caffe_wire import V1, net
from random_detector import caffe_weights
from torchvision.models.vgg import make_layers


@pytest.fixture
def config(shapes, tmp_path):
    return tiny_config(shapes, tmp_path / "run", net="VGG16")


def _layers(cfg, num_classes=None):
    """Released layers of a random detector of this config."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = num_classes or cfg.MODEL.ROI_HEADS.NUM_CLASSES
    torch.manual_seed(5)
    return caffe_weights(build_step_model(cfg), "rpn_conv/3x3")


def _start_from(cfg, path, layers, **form):
    path.write_bytes(net(layers, **form))
    cfg.MODEL.WEIGHTS = str(path)


def _imagenet(layers):
    kept = {name: arrays for name, arrays in layers.items() if name.startswith(("conv", "fc"))}
    return {**kept, "fc8": [np.ones((9, 16)), np.ones(9)]}


def test_four_steps_from_an_imagenet_file(config, tmp_path):
    """conv1_1 to conv2_2 are never trained: they come out as they went in."""
    layers = _layers(config)
    _start_from(config, tmp_path / "vgg.caffemodel", _imagenet(layers), form=V1, shape="old")
    plan = AlternatingTrainer(config).plan()
    assert plan.problems == []
    assert f"No step starts from these of {config.MODEL.WEIGHTS}: fc8." in plan.remarks
    assert not any("start new" in remark for remark in plan.remarks)
    run(config)
    for step in ("step1_rpn", "step4_fast_rcnn"):
        state = weights_of(config.OUTPUT_DIR, step)
        for layer in ("conv1_1", "conv1_2", "conv2_1", "conv2_2"):
            for kind, array in zip(("weight", "bias"), layers[layer]):
                assert torch.equal(state[f"backbone.{layer}.{kind}"], torch.from_numpy(array).float())
        assert not torch.equal(state["backbone.conv5_3.weight"], torch.from_numpy(layers["conv5_3"][0]).float())


def test_a_detector_of_other_classes_gives_backbone_and_fc(config, tmp_path):
    _start_from(config, tmp_path / "voc.caffemodel", _layers(config, num_classes=20))
    plan = AlternatingTrainer(config).plan()
    assert plan.problems == []
    (remark,) = [remark for remark in plan.remarks if "No step starts" in remark]
    for layer in ("rpn_conv/3x3", "rpn_cls_score", "rpn_bbox_pred", "cls_score", "bbox_pred"):
        assert layer in remark
    assert "fc6" not in remark and "conv5_3" not in remark


def test_a_layer_that_the_file_lacks_is_said_to_start_new(config, tmp_path):
    layers = _imagenet(_layers(config))
    del layers["fc7"]
    _start_from(config, tmp_path / "vgg.caffemodel", layers)
    plan = AlternatingTrainer(config).plan()
    assert plan.problems == []
    assert any("start new" in r and "roi_heads.box_head.fc7.weight" in r for r in plan.remarks)


def test_a_layer_of_another_shape_is_a_problem(config, tmp_path):
    layers = _imagenet(_layers(config))
    layers["conv3_2"] = [np.ones((15, 15, 1, 1)), np.ones(15)]
    _start_from(config, tmp_path / "vgg.caffemodel", layers)
    problems = AlternatingTrainer(config).plan().problems
    assert problems and all("vgg.caffemodel" in p and "conv3_2" in p and "(15, 15, 1, 1)" in p for p in problems)


def test_a_step_that_starts_its_rpn_from_the_file(config, tmp_path):
    """The plan compares shapes after fitting: two logits an anchor in the file, one in detectron2's own head."""
    _start_from(config, tmp_path / "voc.caffemodel", _layers(config, num_classes=20))
    config.MODEL.RPN.HEAD_NAME = "StandardRPNHead"
    components = ("backbone", "proposal_generator")
    step = Step("rpn_again", RPN, "STEP1", dict.fromkeys(components, WEIGHTS), components)
    schedule = Schedule((step,), dict.fromkeys(components, step.name), RPN)
    plan = make_plan(config, schedule, select_steps(config, schedule), [])
    assert plan.problems == []
    (remark,) = [remark for remark in plan.remarks if "No step starts" in remark]
    assert remark.endswith("voc.caffemodel: fc6, fc7, cls_score, bbox_pred.")


@pytest.fixture
def released_and_converted(config, tmp_path):
    """A released detector, and a .pth that was converted of it for another head, anchor order and deviations."""
    _start_from(config, tmp_path / "released.caffemodel", _layers(config))
    other = config.clone()
    other.merge_from_list(
        [
            *["MODEL.RPN.HEAD_NAME", "StandardRPNHead", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[2.0, 1.0, 0.5]]],
            *["MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed"],
            *["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)],
        ]
    )
    convert_weights(other, [config.MODEL.WEIGHTS], str(tmp_path / "converted.pth"))
    return config.MODEL.WEIGHTS, str(tmp_path / "converted.pth")


def test_a_step_begins_with_the_same_from_a_file_converted_for_another_config(config, released_and_converted):
    components = ("backbone", "proposal_generator")
    step = Step("rpn_again", RPN, "STEP1", dict.fromkeys(components, WEIGHTS), components)
    schedule = Schedule((step,), dict.fromkeys(components, step.name), RPN)
    states = []
    for file in released_and_converted:
        config.MODEL.WEIGHTS = file
        plan = make_plan(config, schedule, select_steps(config, schedule), [])
        assert plan.problems == [] and not any("start new" in remark for remark in plan.remarks)
        model = build_step_model(config)
        initialize_step(config, step, model, {WEIGHTS: file}, ProposalInputs())
        states.append(model.state_dict())
    for name, layer in (("objectness_logits", "rpn_cls_score"), ("anchor_deltas", "rpn_bbox_pred")):
        released = torch.from_numpy(_layers(config)[layer][0]).float()
        assert released.std() > 0
        assert all(torch.equal(state[f"proposal_generator.rpn_head.{name}.weight"], released) for state in states)


def test_a_given_step_is_the_same_from_a_file_converted_for_another_config(config, released_and_converted):
    states = []
    for file in released_and_converted:
        model = build_step_model(config)
        assert load_whole_network(model, file, pixels_of_config(config)) == []
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_file_that_is_no_caffe_model_is_a_problem(config, tmp_path):
    (tmp_path / "vgg.caffemodel").write_bytes(b"<html>404</html>")
    config.MODEL.WEIGHTS = str(tmp_path / "vgg.caffemodel")
    (problem,) = AlternatingTrainer(config).plan().problems
    assert "vgg.caffemodel" in problem and "web page" in problem


def test_torchvisions_pixels_have_to_be_set(config, tmp_path):
    widths = [4, 4, "M", 8, 8, "M", 15, 15, 15, "M", 31, 31, 31, "M", 31, 31, 31, "M"]  # VGG-16's, times 0.06
    state = {f"features.{name}": tensor for name, tensor in make_layers(widths).state_dict().items()}
    for position, shape in ((0, (16, 31 * 49)), (3, (16, 16)), (6, (10, 16))):
        state[f"classifier.{position}.weight"] = torch.ones(shape)
        state[f"classifier.{position}.bias"] = torch.ones(shape[0])
    torch.save(state, tmp_path / "vgg16.pth")
    config.MODEL.WEIGHTS = str(tmp_path / "vgg16.pth")
    (problem,) = AlternatingTrainer(config).plan().problems
    settings = problem.split("Set: ")[1].replace('"', "").split()
    assert settings[::2] == ["INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"]
    config.merge_from_list(settings)
    assert AlternatingTrainer(config).plan().problems == []
