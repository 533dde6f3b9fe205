"""The scores that enter NMS: what they are, who hands them out, and when nobody does."""

from frcnn_alt.modeling.roi_heads.candidate_scores import (
    candidate_scores,
    collect_candidate_scores,
    report_candidate_scores,
)

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from hypothesis import given
from hypothesis import strategies as st
from one_convolution_backbone import NUM_CLASSES as K
from one_convolution_backbone import one_convolution_config

INFINITY = float("inf")


def make_config(*overrides):
    return one_convolution_config(
        *("MODEL.META_ARCHITECTURE", "FasterRCNN"),
        *("MODEL.ROI_HEADS.NAME", "FasterRCNNROIHeads"),
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
        *("MODEL.ROI_HEADS.PRE_NMS_TOPK_PER_CLASS_TEST", 10),
        *("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"),
        *("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0)),
        *("INPUT.MIN_SIZE_TEST", 64),
        *("TEST.DETECTIONS_PER_IMAGE", -1),
        *overrides,
    )


def make_model(*overrides):
    torch.manual_seed(0)
    return build_model(make_config(*overrides)).eval()


def one_input(height=64, width=96, seed=0):
    torch.manual_seed(seed)
    return {"image": (torch.rand(3, height, width) * 255).byte(), "height": height, "width": width}


@given(st.integers(0, 6), st.integers(1, 4), st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(0, 99))
def test_scores_above_the_threshold_best_first(regions, classes, threshold, seed):
    scores = np.random.RandomState(seed).randint(0, 11, (regions, classes + 1)).astype(np.float32) / 10  # many ties
    ours = candidate_scores(torch.from_numpy(scores), threshold).numpy()
    columns = [sorted((s for s in scores[:, k] if s > threshold), reverse=True) for k in range(classes)]
    most = max(map(len, columns))
    assert ours.shape == (most, classes)
    for k, column in enumerate(columns):
        assert ours[:, k].tolist() == column + [-INFINITY] * (most - len(column))


def test_outputs_hold_the_best_of_each_class_before_nms():
    inputs = [one_input(), one_input(seed=1)]
    everything = make_model("MODEL.ROI_HEADS.NMS_THRESH_TEST", 1.0)(inputs)  # no NMS: detections are the candidates
    outputs = make_model("MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.3)(inputs)
    for output, unsuppressed in zip(outputs, everything):
        assert set(output) == {"instances", "candidate_scores"}
        scores = output["candidate_scores"]
        assert scores.shape == (10, K) and len(output["instances"]) < scores.numel()
        for label in range(K):
            of_class = unsuppressed["instances"].pred_classes == label
            assert torch.equal(scores[:, label], unsuppressed["instances"].scores[of_class])
            detected = output["instances"].scores[output["instances"].pred_classes == label]
            assert torch.isin(detected, scores[:, label]).all()  # bit by bit, so that >= decides alike


def test_without_a_limit_every_region_is_a_candidate():
    model = make_model("MODEL.ROI_HEADS.PRE_NMS_TOPK_PER_CLASS_TEST", -1, "MODEL.RPN.POST_NMS_TOPK_TEST", 13)
    assert model([one_input()])[0]["candidate_scores"].shape == (13, K)


def test_no_candidate_at_all():
    (output,) = make_model("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0)([one_input()])
    assert output["candidate_scores"].shape == (0, K) and len(output["instances"]) == 0


@pytest.mark.parametrize(
    "overrides",
    [
        ("TEST.MEAN_BOXES_PER_CLASS", -1),
        ("MODEL.ROI_HEADS.NAME", "StandardROIHeads"),
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    ],
)
def test_nobody_asks_or_nobody_answers(overrides):
    (output,) = make_model(*overrides)([one_input()])
    assert set(output) == {"instances"}


def test_raw_results_and_given_boxes_are_as_in_detectron2():
    model = make_model("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead")
    (raw,) = model.inference([one_input()], do_postprocess=False)
    assert isinstance(raw, Instances) and raw.has("pred_masks")
    known = Instances((64, 96), pred_boxes=raw.pred_boxes[:2], pred_classes=raw.pred_classes[:2])
    (output,) = model.inference([one_input()], [known])
    assert set(output) == {"instances"} and len(output["instances"]) == 2 and output["instances"].has("pred_masks")
    (output,) = model([one_input()])
    assert set(output) == {"instances", "candidate_scores"} and output["instances"].has("pred_masks")


def test_test_time_augmentation_gives_no_candidates():
    cfg = make_config("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64,), "TEST.AUG.FLIP", False)
    torch.manual_seed(0)
    with torch.no_grad():
        (output,) = GeneralizedRCNNWithTTA(cfg, build_model(cfg).eval())([one_input()])
    assert set(output) == {"instances"} and len(output["instances"])


def test_default_predictor_runs(tmp_path):
    cfg = make_config()
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "weights.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    output = DefaultPredictor(cfg)(np.zeros((64, 96, 3), np.uint8))
    assert output["instances"].image_size == (64, 96) and output["candidate_scores"].shape[1] == K


def test_nothing_is_collected_in_training(monkeypatch):
    from frcnn_alt.modeling.roi_heads import fast_rcnn

    monkeypatch.setattr(fast_rcnn, "report_candidate_scores", lambda *_: pytest.fail("reported while training"))
    instances = Instances(
        (64, 96), gt_boxes=Boxes(torch.tensor([[4.0, 4.0, 40.0, 40.0]])), gt_classes=torch.tensor([1])
    )
    with EventStorage():
        losses = make_model().train()([{**one_input(), "instances": instances}])
    assert all(name.startswith("loss_") for name in losses)


def test_nothing_is_left_for_the_next_call():
    scores = [torch.tensor([[0.5, 0.3, 0.2]])]
    with collect_candidate_scores(True) as collected:
        with collect_candidate_scores(False) as inner:
            report_candidate_scores(scores, 0.0)
        assert collected == inner == []
        report_candidate_scores([*scores, *scores], 0.0)
        report_candidate_scores(scores, 0.4)  # replaces those before
    assert [one.tolist() for one in collected] == [[[0.5, -INFINITY]]]
    report_candidate_scores(scores, 0.0)
    assert len(collected) == 1
    with pytest.raises(RuntimeError), collect_candidate_scores(True) as collected:
        raise RuntimeError
    report_candidate_scores(scores, 0.0)
    assert collected == []
