"""SPEC 7.1, approximate joint training: whose gradient goes where, what a batch of two is, runs of it in miniature."""

import json
import os

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.engine import ConfigError, build_trainer, default_argument_parser, main

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from joint_miniature import DETECTOR, RPN, arguments, gradients_of, losses_of, small_config, small_image
from miniature import weights_of, write_initial_weights


@pytest.fixture(scope="module", params=["zf", "vgg16"])
def model_and_losses(request):
    torch.manual_seed(0)
    model = build_model(small_config(request.param)).train()
    losses = losses_of(model, [small_image(1), small_image(2)])
    assert set(losses) == DETECTOR | RPN
    return model, losses


def test_detector_losses_leave_the_rpn_alone(model_and_losses):
    """Proposals are constants: no gradient reaches the RPN's box layer, nor any layer of its head."""
    model, losses = model_and_losses
    for name in DETECTOR:
        moved = gradients_of(model, losses[name])
        assert moved and not [key for key in moved if key.startswith("proposal_generator.")]


def test_proposals_are_constants_that_a_gradient_cannot_enter():
    """detectron2's sampling of regions stops gradients once more; the RPN gives it none to stop."""
    torch.manual_seed(0)
    model, given = build_model(small_config("zf")).train(), []
    model.proposal_generator.register_forward_hook(lambda module, inputs, output: given.extend(output[0]))
    losses_of(model, [small_image(1), small_image(2)])
    assert len(given) == 2 and all(len(proposals) > 50 for proposals in given)
    for proposals in given:
        assert not proposals.proposal_boxes.tensor.requires_grad and not proposals.objectness_logits.requires_grad


def test_rpn_losses_move_its_own_layers_and_leave_the_detector_alone(model_and_losses):
    """Stopping the gradient freezes nothing: the box layer learns from its own loss."""
    model, losses = model_and_losses
    head = "proposal_generator.rpn_head."
    classification, boxes = (gradients_of(model, losses[name]) for name in ("loss_rpn_cls", "loss_rpn_loc"))
    assert f"{head}anchor_deltas.weight" in boxes and f"{head}anchor_deltas.weight" not in classification
    assert f"{head}objectness_logits.weight" in classification and f"{head}objectness_logits.weight" not in boxes
    assert f"{head}conv.weight" in classification and f"{head}conv.weight" in boxes
    assert not [key for key in (*classification, *boxes) if key.startswith("roi_heads.")]


def test_all_four_losses_reach_the_shared_convolutions(model_and_losses):
    model, losses = model_and_losses
    trainable = {
        n for n, p in model.named_parameters() if n.startswith("backbone.") and n.endswith("weight") and p.requires_grad
    }
    is_vgg16 = "backbone.conv1_1.weight" in dict(model.named_parameters())
    assert len(trainable) == (9 if is_vgg16 else 5)  # conv1 and conv2 of VGG-16 are fixed
    for loss in losses.values():
        assert trainable <= set(gradients_of(model, loss))


def test_a_batch_of_two_is_two_batches_of_one_averaged():
    """py-faster-rcnn's iter_size 2: every anchor and region is sampled here, so that nothing depends on chance."""
    everything = ["MODEL.ROI_BOX_HEAD.DROPOUT", "0.0", "MODEL.RPN.BATCH_SIZE_PER_IMAGE", "100000"]
    everything += ["MODEL.RPN.POSITIVE_FRACTION", "1.0", "MODEL.ROI_HEADS.POSITIVE_FRACTION", "1.0"]
    everything += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", "12", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "13"]
    torch.manual_seed(0)
    model = build_model(small_config("zf", *everything)).train()
    images = [small_image(1), small_image(2)]
    whole = gradients_of(model, sum(losses_of(model, images).values()))
    halves = [gradients_of(model, sum(losses_of(model, [image]).values())) for image in images]
    assert len(whole) > 15
    for name, gradient in whole.items():
        mean = sum(half.get(name, torch.zeros_like(gradient)) for half in halves) / 2
        torch.testing.assert_close(gradient, mean, rtol=1e-3, atol=1e-6 + 1e-4 * mean.abs().max().item())


@pytest.mark.parametrize("net", ["zf", "vgg16"])
def test_joint_training_from_plan_to_detections(net, shapes, tmp_path, capsys):
    weights = str(tmp_path / "initial.pth")
    write_initial_weights(small_config(net), weights)
    assert main(arguments(net, shapes, tmp_path / "run", "MODEL.WEIGHTS", weights, flags=["--dry-run"])) == 0
    plan = capsys.readouterr().out
    for text in ("3 x 2", "0.001", "0.0001 from 2", weights, "backbone", "proposal_generator", "roi_heads"):
        assert text in plan
    assert "step1_joint" in plan and "proposal_generator: new" in plan
    assert main(arguments(net, shapes, tmp_path / "run", "MODEL.WEIGHTS", weights)) == 0
    with open(tmp_path / "run" / "step1_joint" / "metrics.json") as file:
        last = [json.loads(line) for line in file][-1]
    assert all(np.isfinite(last[name]) for name in DETECTOR | RPN)
    initial = read_checkpoint(weights)["model"]
    final = read_checkpoint(str(tmp_path / "run" / "model_final.pth"))["model"]
    fixed = {name for name in initial if name.startswith(("backbone.conv1_", "backbone.conv2_"))}
    assert {name for name, value in initial.items() if torch.equal(value, final[name])} == fixed
    assert not [name for name in final if name.endswith((".mean", ".std"))]  # raw targets, fixed normalisation
    assert list((tmp_path / "run" / "inference").glob("*/detections.jsonl"))


def test_rpn_statistics_are_measured_and_the_detectors_cannot_be(shapes, tmp_path):
    measured = ["MODEL.WEIGHTS", "", "MODEL.RPN.BBOX_REG_STATISTICS", "measured"]
    assert main(arguments("zf", shapes, tmp_path / "rpn", *measured)) == 0
    std = read_checkpoint(str(tmp_path / "rpn" / "model_final.pth"))["model"][
        "proposal_generator.box2box_transform.std"
    ]
    assert (std < 0.9).all()  # of a hundred positive anchors, not the 1 that stands there before
    per_class = ["MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "per_class"]
    unit = ["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "(1.0, 1.0, 1.0, 1.0)"]
    with pytest.raises(ConfigError, match="MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS.*'fixed'"):
        main(arguments("zf", shapes, tmp_path / "heads", "MODEL.WEIGHTS", "", *per_class, *unit))


def test_heads_without_proposals_are_refused(shapes, tmp_path):
    words = ["MODEL.WEIGHTS", "", "MODEL.RPN.PROPOSALS_IN_TRAINING", "False"]
    for architecture in ("FasterRCNN", "GeneralizedRCNN"):
        with pytest.raises(ConfigError, match="MODEL.RPN.PROPOSALS_IN_TRAINING is False"):
            main(arguments("zf", shapes, tmp_path / "a", *words, "MODEL.META_ARCHITECTURE", architecture))


@pytest.mark.parametrize(
    "checkpoint, message",
    [
        ({"backbone.conv1.weight": torch.zeros(96, 3, 11, 11)}, r"backbone.conv1.weight.*\(96, 3, 11, 11\)"),
        ({"resnet.weight": torch.zeros(1)}, "holds no tensor"),
        ({"model": {"backbone.conv1.bias": torch.zeros(6)}, "frcnn_alt": {"input_format": "RGB"}}, "INPUT.FORMAT RGB"),
    ],
)
def test_weights_that_do_not_fit_are_refused(checkpoint, message, shapes, tmp_path):
    weights = str(tmp_path / "w.pth")
    torch.save(checkpoint, weights)
    with pytest.raises(ConfigError, match=message):
        main(arguments("zf", shapes, tmp_path / "run", "MODEL.WEIGHTS", weights))


def test_a_network_that_cannot_be_built_is_a_problem_of_the_plan(shapes):
    plan = build_trainer(small_config("zf", "MODEL.BACKBONE.NAME", "build_nothing")).plan()
    assert any("build_nothing" in problem for problem in plan.problems) and not plan.steps


def test_fast_rcnn_alone_on_stored_proposals_measures_its_statistics(zf_run):
    """The same proposals and objects as in step 2 of the alternating run, hence the same statistics."""
    run_cfg, _ = zf_run
    cfg = small_config("zf", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals", "MODEL.LOAD_PROPOSALS", True)
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS = "per_class"
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
    cfg.TRAINER = "SingleStepTrainer"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = run_cfg.MODEL.ROI_HEADS.NUM_CLASSES
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = run_cfg.DATASETS.TRAIN, ()
    proposals = os.path.join(run_cfg.OUTPUT_DIR, "step1_rpn", "proposals", run_cfg.DATASETS.TRAIN[0])
    cfg.DATASETS.PROPOSAL_FILES_TRAIN = (proposals,)
    cfg.OUTPUT_DIR = os.path.join(run_cfg.OUTPUT_DIR, "fast_rcnn_alone")
    assert build_trainer(cfg).train() == {}
    ours = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    theirs = weights_of(run_cfg.OUTPUT_DIR, "step2_fast_rcnn")
    for name in ("mean", "std"):
        key = f"roi_heads.box_predictor.box2box_transform.{name}"
        assert torch.equal(ours[key], theirs[key]) and ours[key].any()


def test_a_moved_joint_run_is_evaluated_where_it_is(shapes, tmp_path):
    """By the config.yaml in its folder, which names the folder that it was written in and the weights it began with."""
    weights = str(tmp_path / "initial.pth")
    write_initial_weights(small_config("zf"), weights)
    assert main(arguments("zf", shapes, tmp_path / "there", "MODEL.WEIGHTS", weights)) == 0
    (tmp_path / "there").rename(tmp_path / "moved")
    config = str(tmp_path / "moved" / "config.yaml")
    assert main(default_argument_parser().parse_args(["--config-file", config, "--eval-only"])) == 0
    again, first = (list((tmp_path / "moved" / at).glob("inference/*/detections.jsonl")) for at in ("eval_only", "."))
    assert len(again) == len(first) == 1 and again[0].read_text() == first[0].read_text()
