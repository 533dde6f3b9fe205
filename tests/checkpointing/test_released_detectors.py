"""A detector goes out, byte by byte as the originals released theirs, and comes back with the same detections."""

from frcnn_alt.checkpointing import SafeCheckpointer

import pytest
import torch
from detectron2.modeling import build_model
from oracles.caffe_wire import TODAY, V0, V1, net
from random_detector import caffe_weights, detector_config, picture, randomise

MATLAB = {
    "rpn_conv/3x3": "conv_proposal1",
    "rpn_cls_score": "proposal_cls_score",
    "rpn_bbox_pred": "proposal_bbox_pred",
}
HEADS = ("fc6", "fc7", "cls_score", "bbox_pred")
OLD_FORM = {"form": V1, "shape": "old"}


def _build(cfg, image, seed):
    """A detector with random weights of its own, and its inputs."""
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    randomise(model, image, seed)
    return model


def _detect(model, image):
    inputs = [{"image": torch.as_tensor(image.transpose(2, 0, 1).copy()), "height": 200, "width": 260}]
    with torch.no_grad():
        return model(inputs)[0]["instances"]


def assert_same_detections(found, expected):
    """The same boxes, scores and classes; the released form folds statistics into single precision, which rounds."""
    assert len(found) == len(expected) > 20
    assert found.pred_classes.unique().numel() > 5
    assert torch.equal(found.pred_classes, expected.pred_classes)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=2e-2, rtol=0)


def _write(folder, layers, as_pair, **form):
    """One file, or the MATLAB release's two; returns what MODEL.WEIGHTS would be."""
    if not as_pair:
        (folder / "final.caffemodel").write_bytes(net({**layers, "drop6": []}, **form))
        return str(folder / "final.caffemodel")
    convolutions = {name: arrays for name, arrays in layers.items() if name.startswith("conv")}
    proposals = {MATLAB[name]: arrays for name, arrays in layers.items() if name in MATLAB}
    (folder / "rpn.caffemodel").write_bytes(net({**convolutions, **proposals}, **form))
    heads = {name: layers[name] for name in HEADS}
    (folder / "fast_rcnn.caffemodel").write_bytes(net({**convolutions, **heads}, **form))
    return f"{folder}/rpn.caffemodel,{folder}/fast_rcnn.caffemodel"


@pytest.mark.parametrize(
    "config, preset, rpn_convolution, as_pair, form",
    [
        ("zf_4step", "pyfrcnn", "rpn_conv1", False, {"form": TODAY}),
        ("zf_4step", "pyfrcnn", "rpn_conv/3x3", False, {"form": V0, "shape": "old"}),
        ("vgg16_4step", "pyfrcnn", "rpn_conv/3x3", False, {"form": TODAY, "packed": False}),
        ("zf_4step", "paper", "rpn_conv/3x3", True, OLD_FORM),
        ("vgg16_4step", "paper", "rpn_conv/3x3", True, {"form": TODAY}),
    ],
)
def test_released_forms_come_back(tmp_path, config, preset, rpn_convolution, as_pair, form):
    cfg = detector_config(f"{config}.yaml", preset)
    image = picture(200, 260, seed=1)
    model = _build(cfg, image, seed=2)
    layers = caffe_weights(model, rpn_convolution)
    weights = _write(tmp_path, layers, as_pair, **form)
    other = _build(cfg, image, seed=3)
    expected = _detect(model, image)
    assert len(_detect(other, image)) != len(expected) or not torch.equal(
        _detect(other, image).pred_classes, expected.pred_classes
    )
    SafeCheckpointer(other).load(weights)
    assert_same_detections(_detect(other, image), expected)


STOCK = [
    *["MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.PROPOSAL_GENERATOR.NAME", "RPN"],
    *["MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"],
    *["MODEL.RPN.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0), "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0)],
    # Ratios whose square roots are whole numbers: no rounding tells the two anchor generators apart.
    *["MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64, 128]], "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[0.25, 1.0, 4.0]]],
]


@pytest.mark.parametrize(
    "changes",
    [
        ["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)],
        ["MODEL.RPN.BBOX_REG_WEIGHTS", (2.0, 4.0, 8.0, 16.0)],
        ["MODEL.RPN.HEAD_NAME", "StandardRPNHead"],
        ["MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator", "MODEL.ANCHOR_GENERATOR.OFFSET", 0.5],
        [
            *["MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator", "MODEL.ANCHOR_GENERATOR.OFFSET", 0.5],
            *["MODEL.RPN.HEAD_NAME", "StandardRPNHead", "MODEL.RPN.BBOX_REG_WEIGHTS", (2.0, 4.0, 8.0, 16.0)],
            *["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)],
        ],
        ["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[4.0, 0.25, 1.0]]],
        [
            *["MODEL.ROI_HEADS.NAME", "FasterRCNNROIHeads", "MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS", False],
            *["MODEL.ROI_HEADS.PRE_NMS_TOPK_PER_CLASS_TEST", -1, "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "per_class"],
            *["MODEL.BBOX_DECODING", "inverse"],
        ],
    ],
)
def test_into_detectron2s_own_components(tmp_path, changes):
    """Each difference of a stock model, and all together: scaled deltas, one logit an anchor, another anchor order."""
    cfg = detector_config("vgg16_4step.yaml", "pyfrcnn")
    cfg.merge_from_list(STOCK)
    image = picture(200, 260, seed=4)
    model = _build(cfg, image, seed=5)
    weights = _write(tmp_path, caffe_weights(model, "rpn_conv/3x3"), False, form=TODAY)
    cfg.merge_from_list(changes)
    other = build_model(cfg).eval()
    SafeCheckpointer(other).load(weights)
    assert_same_detections(_detect(other, image), _detect(model, image))
