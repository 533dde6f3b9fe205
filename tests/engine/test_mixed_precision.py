"""detectron2's AMP switch: convolutions in half precision, losses and boxes in single; by autocast on the CPU."""

from frcnn_alt import get_cfg
from frcnn_alt.engine import check_config

import pytest
import torch
from detectron2.modeling import box_regression, build_model
from joint_miniature import CONFIGS, DETECTOR, RPN, losses_of, small_config, small_image


@pytest.fixture(params=["joint", "joint_nonapproximate"])
def kind(request):
    return request.param


@pytest.fixture(params=["zf", "vgg16"])
def model(request, kind):
    torch.manual_seed(0)
    return build_model(small_config(request.param, "MODEL.ROI_BOX_HEAD.DROPOUT", "0.0", kind=kind)).train()


IMAGES = [small_image(1), small_image(2)]


def types_in(monkeypatch, owner, *names):
    """The types of the floating tensors that these functions are given, from now on."""
    seen = set()
    for name in names:
        stock = getattr(owner, name)

        def spied(*args, stock=stock, **kwargs):
            seen.update(a.dtype for a in args if isinstance(a, torch.Tensor) and a.is_floating_point())
            return stock(*args, **kwargs)

        monkeypatch.setattr(owner, name, spied)
    return seen


def test_losses_are_single_and_convolutions_are_not(model, monkeypatch):
    features = {}
    model.backbone.register_forward_hook(lambda module, inputs, output: features.update(output))
    boxes = types_in(monkeypatch, box_regression.Box2BoxTransform, "get_deltas", "apply_deltas")
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, IMAGES)
    assert {feature.dtype for feature in features.values()} == {torch.bfloat16}
    assert set(losses) == DETECTOR | RPN and {loss.dtype for loss in losses.values()} == {torch.float32}
    assert boxes == {torch.float32}
    plain = losses_of(model, IMAGES)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(plain[name].item(), rel=0.1, abs=0.05)


def test_gradients_reach_all_that_is_trained(model):
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, IMAGES)
    sum(losses.values()).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.values())
    assert {p.grad.dtype for p in trained.values()} == {torch.float32}


def test_detections_have_single_precision_boxes_and_scores(model):
    model.eval()
    inputs = [{key: value for key, value in image.items() if key != "instances"} for image in IMAGES]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = model(inputs)
        proposals, _ = model.proposal_generator(
            model.preprocess_image(inputs), model.backbone(model.preprocess_image(inputs).tensor), None
        )
    for output in outputs:
        instances = output["instances"]
        assert instances.pred_boxes.tensor.dtype == instances.scores.dtype == torch.float32
    for one in proposals:
        assert one.proposal_boxes.tensor.dtype == torch.float32


def test_without_a_gpu_the_switch_is_refused():
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "zf_4step.yaml"))
    cfg.MODEL.WEIGHTS, cfg.SOLVER.AMP.ENABLED = "", True
    for device, expected in (("cpu", 1), ("cuda", 0)):
        cfg.MODEL.DEVICE = device
        problems = [problem for problem in check_config(cfg) if "SOLVER.AMP.ENABLED" in problem]
        assert len(problems) == expected
