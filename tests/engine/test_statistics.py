"""The measuring passes over a training set, against the statistics written from the rules (SPEC 4.4, 5.3).

Images are landscapes and portraits, whose two sides grow by different factors or are limited by the longer one; objects
lie anywhere, at x = 0, and flush with the right and bottom edges; difficult objects and crowds count for nothing.
"""

from frcnn_alt import get_cfg
from frcnn_alt.engine.statistics import measure_proposal_statistics, measure_region_statistics
from frcnn_alt.proposals import ProposalSet, ProposalSetWriter

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from oracles.anchor_statistics import anchor_statistics
from oracles.anchors import cell_anchors
from oracles.box_statistics import box_statistics_per_class
from oracles.image_size import exact_size, resized

CONFIG = __file__.rsplit("tests", 1)[0] + "configs/Base-RCNN-ZF.yaml"
SHORTER, LONGER = 96, 160  # of a training image
SMALLEST_DEVIATION = 1e-4  # ours, where all samples agree

# (width, height), and objects by class
LANDSCAPE = (75, 50), [([7.0, 9, 33, 41], 0), ([40.0, 0, 75, 22], 1)]  # at the right edge
PORTRAIT = (50, 75), [([0.0, 12, 21, 52], 0), ([18.0, 44, 50, 75], 1)]  # at the left, and in the bottom right corner
UNEVEN = (67, 48), [([31.0, 20, 67, 48], 1), ([3.0, 3, 29, 17], 0)]  # 134 pixels wide, which is no multiple of 16
LONG = (101, 31), [([5.0, 2, 48, 29], 0), ([60.0, 4, 101, 31], 1)]  # its longer side decides
IMAGES = {"landscape": LANDSCAPE, "portrait": PORTRAIT, "uneven": UNEVEN, "long": LONG}
# What is neither trained on nor measured: COCO's crowds, VOC's difficult objects.
IGNORED = [{"iscrowd": 1}, {"iscrowd": 1, "difficult": 1}]


def records(*images):
    """Data set dictionaries, each with a crowd and a difficult object more than what counts."""
    dicts = []
    for number, ((width, height), objects) in enumerate(images):
        flags = [({"iscrowd": 0, "difficult": 0}, box, label) for box, label in objects]
        flags += [(flag, [n, 1 + n, 17 + n, 24 - n], n) for n, flag in enumerate(IGNORED)]
        annotations = [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, **flag} for flag, box, label in flags
        ]
        image = {"image_id": number, "dataset_name": "d", "width": width, "height": height}
        dicts.append({**image, "annotations": annotations})
    return dicts


def model_of(meta_architecture, *changes):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = meta_architecture
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.05
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32, 64]]
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (SHORTER,), LONGER
    cfg.merge_from_list(list(changes))
    return cfg, build_model(cfg)


def in_the_network(image):
    """(objects as inclusive pixels of the network's input, height, width of that input)."""
    (width, height), objects = image
    new_height, new_width = resized(height, width, SHORTER, LONGER)
    x, y = new_width / width, new_height / height
    boxes = [[x1 * x, y1 * y, x2 * x - 1, y2 * y - 1] for (x1, y1, x2, y2), _ in objects]
    return boxes, new_height, new_width


def test_the_images_are_what_they_are_said_to_be():
    sizes = {name: in_the_network(image)[1:] for name, image in IMAGES.items()}
    assert sizes == {"landscape": (96, 144), "portrait": (144, 96), "uneven": (96, 134), "long": (49, 160)}
    assert exact_size(31, 101, SHORTER, LONGER)[0] < SHORTER


@pytest.mark.parametrize("names", [*([name] for name in IMAGES), list(IMAGES)], ids="+".join)
def test_proposal_statistics_over_all_positive_anchors(names):
    cfg, model = model_of("FasterRCNNProposalNetwork")
    images = [IMAGES[name] for name in names]
    measure_proposal_statistics(cfg, model, records(*images))
    mean, std = anchor_statistics([in_the_network(image) for image in images], cell_anchors((2, 4)))
    transform = model.proposal_generator.box2box_transform
    np.testing.assert_allclose(transform.mean[0], mean, atol=1e-5)
    np.testing.assert_allclose(transform.std[0], np.maximum(std, SMALLEST_DEVIATION), atol=1e-5)


def test_the_first_of_several_training_sides_stands_for_all():
    one, many = (
        model_of("FasterRCNNProposalNetwork", "INPUT.MIN_SIZE_TRAIN", sides) for sides in ((96,), (96, 160, 32))
    )
    for cfg, model in (one, many):
        measure_proposal_statistics(cfg, model, records(LANDSCAPE))
    assert torch.equal(*(model.proposal_generator.box2box_transform.std for _, model in (one, many)))


def test_region_statistics_by_class(tmp_path):
    rng = np.random.default_rng(3)
    images, topk = list(IMAGES.values()), 12
    dicts, regions = records(*images), []
    for image in dicts:
        boxes = np.repeat([annotation["bbox"] for annotation in image["annotations"]], 5, axis=0)
        sides = [image["width"], image["height"]] * 2
        near = np.clip(boxes + rng.uniform(-5, 5, boxes.shape), 0, sides).astype(np.float32)
        regions.append(rng.permutation(near))
    with ProposalSetWriter(tmp_path / "set", "d") as writer:
        for image, boxes in zip(dicts, regions):
            writer.add(image["image_id"], boxes, np.linspace(1, 0, len(boxes), dtype=np.float32))
    _, model = model_of("FasterRCNN", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals")
    measure_region_statistics(model, dicts, {"d": ProposalSet(tmp_path / "set")}, topk)

    objects = [np.array([box for box, _ in of_image]) for _, of_image in images]
    classes = [[label for _, label in of_image] for _, of_image in images]
    # The width of an image turns no delta into another one, so that one serves for all.
    mean, std = box_statistics_per_class([boxes[:topk] for boxes in regions], objects, classes, 3, width=100)
    transform = model.roi_heads.box_predictor.box2box_transform
    np.testing.assert_allclose(transform.mean, mean, atol=1e-5)
    np.testing.assert_allclose(transform.std, np.maximum(std, SMALLEST_DEVIATION), atol=1e-5)
    assert (transform.mean[2] == 0).all() and (transform.std[2] == 1).all()  # a class without regions
    assert (std[:2] > 0.01).all()


def test_raw_targets_need_no_pass():
    cfg, model = model_of("FasterRCNNProposalNetwork", "MODEL.RPN.BBOX_REG_STATISTICS", "none")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_proposal_statistics(cfg, model, records(LANDSCAPE))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
