"""The rows of some classes of a detector: probabilities and boxes, in whatever program's file they came.

Shape letters: K = 5 classes of the file, R regions.
"""

from frcnn_alt.checkpointing import CheckpointError, check_classes, fit_to_model, read_checkpoint, select_classes
from frcnn_alt.modeling.box_regression import NormalizedBox2BoxTransform
from frcnn_alt.modeling.roi_heads.fast_rcnn import FasterRCNNOutputLayers

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from oracles.caffe_wire import net
from oracles.class_selection import boxes_of_classes, conditional_probabilities
from random_detector import caffe_weights, detector_config, picture, randomise

NAMES = ["bench", "airplane", "cat", "couch", "dog"]
SELECTIONS = [
    (["dog", "aeroplane"], [4, 1]),
    (["sofa"], [3]),
    (["cat", "dog", "bench", "couch", "airplane"], [2, 4, 0, 3, 1]),
]
PREDICTOR = "roi_heads.box_predictor"
R, C = 7, 6


def predictor(num_classes, kind="statistics", agnostic=False):
    rows = 1 if agnostic else num_classes
    common = {"num_classes": num_classes, "cls_agnostic_bbox_reg": agnostic}
    if kind == "statistics":
        transform = NormalizedBox2BoxTransform(num_classes=rows)
        return FasterRCNNOutputLayers(ShapeSpec(channels=C), box2box_transform=transform, **common)
    return FastRCNNOutputLayers(ShapeSpec(channels=C), box2box_transform=Box2BoxTransform((1.0,) * 4), **common)


def randomised(layers, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        if hasattr(layers.box2box_transform, "set_statistics"):
            shape = layers.box2box_transform.mean.shape
            mean = 0.1 * torch.randn(shape, generator=generator)
            layers.box2box_transform.set_statistics(mean, 0.1 + 0.2 * torch.rand(shape, generator=generator))
    return layers


def checkpoint_of(layers, **record):
    state = {f"{PREDICTOR}.{name}": value for name, value in layers.state_dict().items()}
    return {"model": {**state, "roi_heads.box_head.fc6.weight": torch.ones(5, 4)}, "frcnn_alt": record}


@pytest.mark.parametrize("classes, rows", SELECTIONS)
@pytest.mark.parametrize(
    "kind, agnostic", [("statistics", False), ("statistics", True), ("stock", False), ("stock", True)]
)
def test_probabilities_and_boxes_are_those_of_the_rule(classes, rows, kind, agnostic):
    whole = randomised(predictor(5, kind, agnostic))
    chosen, found_rows, names = select_classes(checkpoint_of(whole, classes=NAMES), "a.pth", classes)
    assert found_rows == rows and names == NAMES and chosen["frcnn_alt"]["classes"] == classes
    fewer = predictor(len(classes), kind, agnostic)
    state = {name[len(PREDICTOR) + 1 :]: value for name, value in chosen["model"].items() if name.startswith(PREDICTOR)}
    fewer.load_state_dict(state)

    generator = torch.Generator().manual_seed(1)
    features = torch.randn(R, C, generator=generator)
    regions = torch.rand(R, 4, generator=generator) * 20 + torch.tensor([0.0, 0.0, 30.0, 30.0])
    proposals = [Instances((100, 100), proposal_boxes=Boxes(regions))]
    with torch.no_grad():
        scores, deltas = whole(features)
        outputs = fewer(features)
        (probabilities,) = fewer.predict_probs(outputs, proposals)
        (boxes,) = fewer.predict_boxes(outputs, proposals)
    expected = conditional_probabilities(scores.double().numpy(), rows)
    assert expected.std() > 0.05
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)

    transform = whole.box2box_transform
    mean, std = (
        (np.zeros((1, 4)), np.ones((1, 4))) if kind == "stock" else (transform.mean.numpy(), transform.std.numpy())
    )
    expected = boxes_of_classes(deltas.numpy(), regions.numpy(), mean, std, rows)
    if agnostic:
        expected = expected[:, :1]
    np.testing.assert_allclose(boxes.reshape(R, -1, 4), expected, rtol=1e-4, atol=1e-4)


def test_the_checkpoint_itself_and_other_layers_stay_and_a_trainings_state_goes():
    whole = randomised(predictor(5))
    checkpoint = {
        **checkpoint_of(whole, classes=NAMES, pixel_std=[1.0] * 3),
        "optimizer": {"state": {}},
        "iteration": 9,
    }
    before = {name: value.clone() for name, value in checkpoint["model"].items()}
    chosen, _, _ = select_classes(checkpoint, "a.pth", ["dog"])
    assert all(torch.equal(value, checkpoint["model"][name]) for name, value in before.items())
    assert set(chosen) == {"model", "frcnn_alt"} and chosen["model"].keys() == before.keys()
    assert torch.equal(chosen["model"]["roi_heads.box_head.fc6.weight"], torch.ones(5, 4))  # of no class
    assert (
        chosen["frcnn_alt"] == {"classes": ["dog"], "pixel_std": [1.0] * 3}
        and checkpoint["frcnn_alt"]["classes"] == NAMES
    )


def test_every_stage_of_a_cascade_and_the_masks():
    state = {}
    for stage in range(3):
        state[f"{PREDICTOR}.{stage}.cls_score.weight"] = torch.arange(6.0)[:, None] + 10 * stage
        state[f"{PREDICTOR}.{stage}.cls_score.bias"] = torch.arange(6.0) + 10 * stage
        state[f"{PREDICTOR}.{stage}.bbox_pred.bias"] = torch.arange(4.0)  # one box for all classes, as in the cascade
    state["roi_heads.mask_head.predictor.weight"] = torch.arange(5.0)[:, None, None, None]
    state["roi_heads.mask_head.predictor.bias"] = torch.arange(5.0)
    state["roi_heads.mask_head.mask_fcn1.weight"] = torch.ones(5, 2, 3, 3)
    chosen = select_classes({"model": state}, "a.pth", ["dog", "bench"], NAMES)[0]["model"]
    for stage in range(3):
        for kind in ("weight", "bias"):
            row = chosen[f"{PREDICTOR}.{stage}.cls_score.{kind}"].flatten()
            assert row.tolist() == [10 * stage + 4, 10 * stage, 10 * stage + 5]  # dog, bench, background
        assert chosen[f"{PREDICTOR}.{stage}.bbox_pred.bias"].tolist() == [0, 1, 2, 3]
    assert chosen["roi_heads.mask_head.predictor.weight"].flatten().tolist() == [4, 0]
    assert chosen["roi_heads.mask_head.predictor.bias"].tolist() == [4, 0]
    assert chosen["roi_heads.mask_head.mask_fcn1.weight"].shape == (5, 2, 3, 3)


def test_one_mask_for_all_classes_stays():
    state = {f"{PREDICTOR}.cls_score.bias": torch.arange(6.0), "roi_heads.mask_head.predictor.bias": torch.ones(1)}
    assert (
        select_classes({"model": state}, "a.pth", ["dog"], NAMES)[0]["model"]["roi_heads.mask_head.predictor.bias"] == 1
    )


@pytest.mark.parametrize("preset", ["paper", "modern"])
def test_released_weights_whether_they_were_fitted_before_or_not(tmp_path, preset):
    """Chosen and then fitted is fitted and then chosen: rows of 20 classes, of which the model that loads has 2."""
    model = build_model(detector_config("zf_4step.yaml", "pyfrcnn")).eval()
    torch.manual_seed(0)
    randomise(model, picture(120, 160, seed=0), seed=0)
    path = tmp_path / "zf.caffemodel"
    path.write_bytes(net(caffe_weights(model, "rpn_conv1")))
    released = read_checkpoint(str(path))
    names, classes = [f"c{i}" for i in range(20)], ["c7", "c2"]

    cfg = detector_config("zf_4step.yaml", preset)
    whole = fit_to_model(released, build_model(cfg))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    small = build_model(cfg)
    other = build_model(detector_config("zf_4step.yaml", "modern" if preset == "paper" else "paper"))
    for checkpoint in (released, whole, fit_to_model(released, other)):
        chosen, rows, _ = select_classes(checkpoint, str(path), classes, names)
        fitted = fit_to_model(chosen, small)
        small.load_state_dict(fitted["model"], strict=preset == "paper")
        expected = whole["model"]
        score, deltas = f"{PREDICTOR}.cls_score.weight", f"{PREDICTOR}.bbox_pred.weight"
        assert torch.equal(fitted["model"][score], expected[score][[7, 2, 20]])
        assert torch.equal(fitted["model"][deltas].reshape(2, 4, -1), expected[deltas].reshape(20, 4, -1)[[7, 2]])
        assert expected[deltas].std() > 0
        for name, tensor in fitted["model"].items():
            if not name.startswith(PREDICTOR):
                assert torch.equal(tensor, expected[name]), name
        assert fitted["frcnn_alt"]["classes"] == classes and fitted["frcnn_alt"]["form"] == "fitted"


@pytest.mark.parametrize(
    "changes, record, known, parts",
    [
        ({}, {}, None, ["does not tell which classes", "--from-classes"]),
        ({}, {}, NAMES[:4], ["rows of 5 classes, but 4 names"]),
        ({}, {}, ["background", *NAMES], ["rows of 5 classes, but 6 names", "none is for the background"]),
        ({}, {"classes": NAMES}, NAMES[::-1], ["remembers other classes", "'bench' and not 'dog'", "class 0"]),
        ({}, {"classes": NAMES}, NAMES[:4], ["'dog' and not none is its class 4"]),
        ({}, {"classes": ["bird", *NAMES[1:]]}, None, ["a.pth: The detector has no class 'bench'"]),
        ({f"{PREDICTOR}.cls_score.": None}, {"classes": NAMES}, None, ["is no detector", "cls_score"]),
        ({"roi_heads.mask_head.point_head.predictor.bias": 5}, {"classes": NAMES}, None, ["point_head", "5 rows"]),
        ({"roi_heads.attributes.weight": 6}, {"classes": NAMES}, None, ["roi_heads.attributes.weight", "6 rows"]),
        ({f"{PREDICTOR}.1.cls_score.bias": 9}, {"classes": NAMES}, None, ["different numbers of rows: [6, 9]"]),
    ],
)
def test_what_cannot_be_chosen_from_is_one_clear_error(changes, record, known, parts):
    checkpoint = checkpoint_of(randomised(predictor(5)), **record)
    for prefix, rows in changes.items():
        checkpoint["model"] = {
            name: v for name, v in checkpoint["model"].items() if rows or not name.startswith(prefix)
        }
        checkpoint["model"].update({prefix: torch.ones(rows)} if rows else {})
    with pytest.raises(CheckpointError) as error:
        select_classes(checkpoint, "a.pth", ["bench", "cat"], known)
    assert "a.pth" in str(error.value) and all(part in str(error.value) for part in parts), error.value


def test_a_detector_of_other_classes_is_refused_and_the_mend_named():
    data_sets = {"first": ["airplane", "cat"], "second": ["cat", "airplane"]}
    check_classes({}, data_sets, "a.pth")  # a file of before does not tell
    check_classes({"classes": ["aeroplane", "cat"]}, {"first": data_sets["first"]}, "a.pth")
    with pytest.raises(CheckpointError) as error:
        check_classes({"classes": ["aeroplane", "cat"]}, data_sets, "a.pth")
    text = str(error.value)
    assert "class 0 (of 2, from 0 on) is 'aeroplane', that of second (of 2) 'cat'" in text and "first" not in text[:80]
    assert "tools/convert_weights.py --config-file <this config> a.pth --classes second" in text
