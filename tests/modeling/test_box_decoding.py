"""MODEL.BBOX_DECODING: both decodings against the original programs' own arithmetic on inclusive pixels (SPEC 4.4)."""

from pathlib import Path

import frcnn_alt
from frcnn_alt.modeling.box_regression import NormalizedBox2BoxTransform, build_box2box_transform

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_proposal_generator, build_roi_heads
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, ImageList, Instances
from hypothesis import given
from hypothesis import strategies as st
from oracles.box_coding import clamp_scales, decode_matlab, decode_pyfrcnn, encode

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ORIGINALS = {"inverse": decode_matlab, "one_pixel_larger": decode_pyfrcnn}
WHOLE_PIXEL = np.array([0.0, 0.0, 1.0, 1.0])  # inclusive -> continuous corners

# Halves and quarters are exact in single precision; so is what the corners of a box are made of.
corners = st.integers(0, 3200).map(lambda n: n / 4)
sides = st.integers(4, 2000).map(lambda n: n / 4)
boxes = st.tuples(corners, corners, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2] - 1, b[1] + b[3] - 1))
deltas = st.tuples(*[st.floats(-2, 2, width=32)] * 2, *[st.floats(-3, 5, width=32)] * 2)


def continuous(box):
    return torch.tensor(np.array(box) + WHOLE_PIXEL, dtype=torch.float32)


def assert_boxes(actual, expected):
    """Equal but for rounding in single precision, which grows with the largest side."""
    expected = np.array(expected) + WHOLE_PIXEL
    np.testing.assert_allclose(actual.numpy(), expected, atol=4e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("num_classes", [None, 1, 3])
@pytest.mark.parametrize("decoding, last", [("inverse", 15), ("one_pixel_larger", 16)])
def test_fixture_of_the_specification(decoding, last, num_classes):
    """Zero deltas on the inclusive box (0, 0, 15, 15)."""
    assert ORIGINALS[decoding]((0, 0, 15, 15), (0, 0, 0, 0)) == [0, 0, last, last]
    transform = build_box2box_transform((1, 1, 1, 1), decoding=decoding, num_classes=num_classes)
    decoded = transform.apply_deltas(torch.zeros(1, 12), torch.tensor([[0.0, 0, 16, 16]]))
    assert decoded.tolist() == [[0, 0, last + 1, last + 1] * 3]


@pytest.mark.parametrize("decoding", sorted(ORIGINALS))
@given(regions=st.lists(st.tuples(boxes, deltas, deltas), min_size=1, max_size=8))
def test_agrees_with_the_original_program(decoding, regions):
    """Two classes a region, plain and with weights, then with statistics of each class."""
    original = ORIGINALS[decoding]
    source = torch.stack([continuous(box) for box, *_ in regions])
    wanted = np.array([both for _, *both in regions])  # R x 2 x 4
    expected = [[original(box, clamp_scales(d)) for d in both] for box, *both in regions]
    weights = (10.0, 10.0, 5.0, 5.0)
    plain = build_box2box_transform(weights, decoding=decoding)
    columns = torch.tensor(wanted * weights, dtype=torch.float32).reshape(len(regions), 8)
    decoded = plain.apply_deltas(columns, source).reshape(-1, 2, 4)

    normalized = build_box2box_transform((1.0, 1.0, 1.0, 1.0), decoding=decoding, num_classes=2)
    mean, std = np.array([[0, 0.5, -0.25, 0.125], [0, -1, 0.5, 0]]), np.array([[0.5, 0.25, 1, 2], [1, 2, 0.5, 0.25]])
    normalized.set_statistics(mean, std)
    columns = torch.tensor((wanted - mean) / std, dtype=torch.float32).reshape(len(regions), 8)
    decoded_by_class = normalized.apply_deltas(columns, source).reshape(-1, 2, 4)
    for region in range(len(regions)):
        for label in range(2):
            assert_boxes(decoded[region, label], expected[region][label])
            assert_boxes(decoded_by_class[region, label], expected[region][label])


@pytest.mark.parametrize("num_classes", [None, 1])
@given(box=boxes, target=boxes)
def test_coding_is_the_same_with_both(num_classes, box, target):
    source, wanted = continuous(box)[None], continuous(target)[None]
    coded = [
        build_box2box_transform((1, 1, 1, 1), decoding=d, num_classes=num_classes).get_deltas(source, wanted)
        for d in sorted(ORIGINALS)
    ]
    assert torch.equal(*coded)
    np.testing.assert_allclose(coded[0][0].numpy(), encode(box, target), rtol=1e-5, atol=1e-5)
    back = build_box2box_transform((1, 1, 1, 1), num_classes=num_classes).apply_deltas(coded[0], source)  # the default
    assert_boxes(back[0], decode_matlab(box, clamp_scales(encode(box, target))))


def test_transform_without_statistics_is_detectron2s_own():
    assert type(build_box2box_transform((1, 1, 1, 1))) is Box2BoxTransform
    larger = build_box2box_transform((1, 1, 1, 1), decoding="one_pixel_larger")
    assert isinstance(larger, Box2BoxTransform) and not isinstance(larger, torch.nn.Module)
    assert isinstance(build_box2box_transform((1, 1, 1, 1), num_classes=2), NormalizedBox2BoxTransform)


@pytest.mark.parametrize("num_classes", [None, 2])
def test_no_boxes_and_gradients(num_classes):
    transform = build_box2box_transform((1, 1, 1, 1), decoding="one_pixel_larger", num_classes=num_classes)
    assert tuple(transform.apply_deltas(torch.zeros(0, 8), torch.zeros(0, 4)).shape) == (0, 8)
    predicted = torch.zeros(1, 8, requires_grad=True)
    transform.apply_deltas(predicted, torch.tensor([[0.0, 0, 16, 16]])).sum().backward()
    assert predicted.grad.tolist() == [[32.0, 32.0, 0.0, 0.0] * 2]  # x1 and x2 move by 16 each; dw moves them apart


@pytest.mark.parametrize("num_classes", [None, 1])
def test_unknown_decoding_is_named_with_its_key(num_classes):
    with pytest.raises(ValueError, match="MODEL.BBOX_DECODING is 'larger'.*'inverse', 'one_pixel_larger'"):
        build_box2box_transform((1, 1, 1, 1), decoding="larger", num_classes=num_classes)


def config(**values):
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-ZF.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 4
    cfg.merge_from_list([part for key, value in values.items() for part in (key.replace("__", "."), value)])
    return cfg


@pytest.mark.parametrize("statistics", ["measured", "none"])
@pytest.mark.parametrize("decoding", sorted(ORIGINALS))
def test_region_proposal_network_decodes_so_and_clips_after(decoding, statistics):
    """With zero deltas every anchor is proposed, and the larger ones no further than the image goes."""
    cfg = config(
        MODEL__BBOX_DECODING=decoding,
        MODEL__RPN__BBOX_REG_STATISTICS=statistics,
        MODEL__ANCHOR_GENERATOR__SIZES=[[16]],
        MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS=[[1.0]],
        MODEL__PROPOSAL_GENERATOR__MIN_SIZE=0,
        MODEL__RPN__NMS_THRESH=1.0,
    )
    rpn = build_proposal_generator(cfg, {"conv5": ShapeSpec(channels=8, stride=16)}).eval()
    torch.nn.init.zeros_(rpn.rpn_head.anchor_deltas.weight)
    size = (32, 48)
    proposals, _ = rpn(ImageList(torch.zeros(1, 3, *size), [size]), {"conv5": torch.zeros(1, 8, 2, 3)})
    expected = []
    for row in range(2):
        for column in range(3):
            anchor = (16 * column, 16 * row, 16 * column + 15, 16 * row + 15)
            x1, y1, x2, y2 = ORIGINALS[decoding](anchor, (0, 0, 0, 0))
            expected.append([x1, y1, min(x2, size[1] - 1) + 1, min(y2, size[0] - 1) + 1])
    assert sorted(proposals[0].proposal_boxes.tensor.tolist()) == sorted(expected)


@pytest.mark.parametrize("statistics", ["per_class", "fixed"])
@pytest.mark.parametrize("decoding", sorted(ORIGINALS))
def test_detector_decodes_so(decoding, statistics):
    cfg = config(MODEL__BBOX_DECODING=decoding, MODEL__ROI_BOX_HEAD__BBOX_REG_STATISTICS=statistics)
    predictor = build_roi_heads(cfg, {"conv5": ShapeSpec(channels=8, stride=16)}).box_predictor
    box = (3, 5, 30, 40)
    proposals = Instances((64, 64))
    proposals.proposal_boxes = Boxes(continuous(box)[None])
    decoded = predictor.predict_boxes((torch.zeros(1, 3), torch.zeros(1, 8)), [proposals])[0]
    assert decoded.tolist() == [(np.array(ORIGINALS[decoding](box, (0, 0, 0, 0))) + WHOLE_PIXEL).tolist() * 2]


def test_configs_with_an_unknown_decoding_build_nothing():
    cfg = config(MODEL__BBOX_DECODING="larger")
    for build in (build_proposal_generator, build_roi_heads):
        with pytest.raises(ValueError, match="MODEL.BBOX_DECODING"):
            build(cfg, {"conv5": ShapeSpec(channels=8, stride=16)})
