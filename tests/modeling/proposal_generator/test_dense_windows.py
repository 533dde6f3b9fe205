"""DenseWindows against the enumeration of tests/oracles/dense_windows.py (SPEC 8.8)."""

from pathlib import Path

import frcnn_alt
from frcnn_alt.modeling.proposal_generator import DenseWindows, image_facts

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.structures import ImageList
from oracles.dense_windows import dense_windows, windows_of_frame

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SCALES = (2, 4, 8)


def generator(*overrides, scales=SCALES):
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-ZF.yaml"))
    cfg.merge_from_file(str(CONFIGS / "overlays" / "one_stage.yaml"))
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16 * scale for scale in scales]]
    cfg.merge_from_list(list(overrides))
    found = build_proposal_generator(cfg, {"conv5": ShapeSpec(channels=256, stride=16)})
    assert type(found) is DenseWindows
    return found


def batch(*sizes):
    return ImageList.from_tensors([torch.zeros(3, *size) for size in sizes])


@pytest.mark.parametrize("size", [(32, 48), (84, 112), (112, 84), (17, 200), (9, 9)])
def test_every_position_size_and_ratio_clipped_to_the_image(size):
    expected = dense_windows(*size, SCALES, smallest=(16, 16))
    windows = generator().windows(size).tensor.numpy()
    assert windows.shape == (len(expected), 4) or not expected
    np.testing.assert_array_equal(windows, np.array(expected).reshape(-1, 4))


def test_about_20000_windows_of_the_papers_image():
    """None is lost to the border, which leaves 44 x 88 pixels of the smallest; 976 are doubles of others."""
    windows = generator(scales=(8, 16, 32)).windows((600, 1000)).tensor.numpy()
    np.testing.assert_array_equal(windows, dense_windows(600, 1000))
    assert len(windows) == 38 * 63 * 9 == 21546
    assert (windows[:, 2:] - windows[:, :2]).min() == 44
    assert len(np.unique(windows, axis=0)) == 21546 - 976


def test_each_image_of_a_batch_has_its_own_windows_whatever_the_padding():
    found, losses = generator()(batch((84, 112), (112, 84)), {})
    assert losses == {}
    for proposals, size in zip(found, [(84, 112), (112, 84)]):
        assert proposals.image_size == size
        np.testing.assert_array_equal(proposals.proposal_boxes.tensor, dense_windows(*size, SCALES, smallest=(16, 16)))
        assert proposals.objectness_logits.shape == (len(proposals),) and not proposals.objectness_logits.any()


@pytest.mark.parametrize("training", [True, False])
def test_they_neither_learn_nor_look(training):
    windows = generator().train(training)
    assert not list(windows.parameters()) and not windows.state_dict()
    first, second = (windows(images, None) for images in (batch((64, 64)), batch((64, 64))))
    assert torch.equal(first[0][0].proposal_boxes.tensor, second[0][0].proposal_boxes.tensor)
    assert not first[0][0].proposal_boxes.tensor.requires_grad


def test_smallest_side_is_in_pixels_of_the_original_image():
    """An image that was enlarged by 2 up and down and 4 across: 16 pixels are 32 and 64."""
    images = batch((64, 128))
    inputs = [{"image": torch.zeros(3, 64, 128), "height": 32, "width": 32}]
    with image_facts(inputs):
        (proposals,), _ = generator()(images, {})
    np.testing.assert_array_equal(proposals.proposal_boxes.tensor, dense_windows(64, 128, SCALES, smallest=(32, 64)))
    assert 0 < len(proposals) < len(dense_windows(64, 128, SCALES, smallest=(16, 16)))


@pytest.mark.parametrize("original", [(50, 75), (75, 50), (40, 130), (61, 47)])
@pytest.mark.parametrize("shown", [(60, 100), (96, 160), (200, 400)])
def test_with_a_frame_they_are_the_same_at_every_size(original, shown):
    frame = (90, 150)
    size = tuple(size_shown(original, shown))
    windows = generator("MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME", frame, "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 0)
    found = windows.windows(size, (size[0] / original[0], size[1] / original[1])).tensor.numpy()
    expected = windows_of_frame(original, size, frame, SCALES)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def size_shown(original, shown):
    """(height, width) of an image whose sides are limited so; not an exact copy of its aspect ratio."""
    scale = min(shown[0] / min(original), shown[1] / max(original))
    return [round(side * scale) for side in original]


def test_levels_of_a_pyramid_of_features_have_their_own_strides():
    cfg = frcnn_alt.get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "DenseWindows"
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "FasterRCNNAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64]]
    cfg.MODEL.RPN.IN_FEATURES = ["p3", "p4"]
    shapes = {"p3": ShapeSpec(channels=1, stride=8), "p4": ShapeSpec(channels=1, stride=16)}
    windows = build_proposal_generator(cfg, shapes).windows((70, 90)).tensor.numpy()
    expected = dense_windows(70, 90, (2,), stride=8) + dense_windows(70, 90, (4,), stride=16)
    np.testing.assert_array_equal(windows, expected)


@pytest.mark.parametrize("frame", [(600,), (0, 1000), (600, 1000, 3)])
def test_a_frame_is_two_sides(frame):
    with pytest.raises(ValueError, match=r"MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME is \("):
        generator("MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME", frame)
