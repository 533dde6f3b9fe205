"""The statistics of dense windows, against the rule over the windows of the oracle (SPEC 5.3, 8.8)."""

from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.window_statistics import measure_window_statistics

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from oracles.box_statistics import mirrored
from oracles.dense_windows import dense_windows, windows_of_frame
from oracles.flipped_regions import box_statistics_with_flipped_regions
from oracles.image_size import resized

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHORTER, LONGER = 96, 160  # of a training image
SCALES = (2, 4)
WIDTH, HEIGHT = 67, 48  # 134 x 96 in training: no multiple of 16, so that a mirror image has other windows
OBJECTS = [[([31.0, 20, 67, 48], 1), ([3.0, 3, 29, 17], 0)], [([0.0, 2, 48, 29], 0), ([20.0, 4, 60, 48], 1)]]


def records(objects=OBJECTS):
    dicts = []
    for number, of_image in enumerate(objects):
        annotations = [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": 0} for box, label in of_image
        ]
        annotations.append({**annotations[0], "category_id": 2, "iscrowd": 1})
        image = {"image_id": number, "dataset_name": "d", "width": WIDTH, "height": HEIGHT}
        dicts.append({**image, "annotations": annotations})
    return dicts


def model_of(*changes):
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-ZF.yaml"))
    cfg.merge_from_file(str(CONFIGS / "overlays" / "one_stage.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 0.05, 8
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16 * scale for scale in SCALES]]
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (SHORTER,), LONGER
    cfg.merge_from_list(list(changes))
    return cfg, build_model(cfg)


def statistics_of(model):
    transform = model.roi_heads.box_predictor.box2box_transform
    return transform.mean.numpy(), transform.std.numpy()


def expected(windows, size):
    """Of windows (R, 4) that every image has, and every mirror image too; of an image of (height, width)."""
    factors = np.array([size[1] / WIDTH, size[0] / HEIGHT] * 2)
    objects = [np.array([box for box, _ in of_image]) * factors for of_image in OBJECTS]
    classes = [[label for _, label in of_image] for of_image in OBJECTS]
    regions = [np.array(windows)] * len(OBJECTS)
    return box_statistics_with_flipped_regions(regions, regions, objects, classes, 3, size[1])


def test_all_windows_of_the_images_and_of_their_mirror_images():
    cfg, model = model_of()
    measure_window_statistics(cfg, model, records())
    size = resized(HEIGHT, WIDTH, SHORTER, LONGER)
    assert size == (96, 134)
    windows = dense_windows(*size, SCALES)
    wanted = expected(windows, size)
    for found, value in zip(statistics_of(model), wanted):
        np.testing.assert_allclose(found, value, atol=1e-5)
    assert (wanted[1][:2] > 0.05).all() and (wanted[1][2] == 1).all()  # a class without objects: a crowd is none
    # The mirror image's own windows are not those of the image, mirrored.
    assert {tuple(window) for window in mirrored(windows, size[1])} != {tuple(window) for window in windows}
    assert abs(wanted[0][0, 0]) > 1e-4


def test_in_a_frame_they_do_not_depend_on_the_size_that_training_begins_with():
    found = []
    for sides in ((96,), (190, 60)):
        cfg, model = model_of("INPUT.MIN_SIZE_TRAIN", sides, "INPUT.MAX_SIZE_TRAIN", 1000)
        cfg.MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME = (80, 500)
        model.proposal_generator.frame = (80, 500)
        measure_window_statistics(cfg, model, records())
        size = resized(HEIGHT, WIDTH, sides[0], 1000)
        wanted = expected(windows_of_frame((HEIGHT, WIDTH), size, (80, 500), SCALES), size)
        found.append(statistics_of(model))
        for one, value in zip(found[-1], wanted):
            np.testing.assert_allclose(one, value, atol=1e-5)
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, atol=2e-2)  # both sides are rounded to whole pixels


def test_fixed_statistics_need_no_pass():
    cfg, model = model_of("MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_window_statistics(cfg, model, records())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_windows_that_no_object_fills_are_told():
    tiny = [[([30.0, 20, 32, 22], 0)]]
    cfg, model = model_of("MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", False)
    with pytest.raises(ConfigError, match="None of 1 training images has a window.*MODEL.ANCHOR_GENERATOR.SIZES"):
        measure_window_statistics(cfg, model, records(tiny))
