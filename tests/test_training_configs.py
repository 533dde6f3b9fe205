"""The leaves' numbers, which are those of SPEC 6.1 (schedules by training set), 6.5 and 3.3 (COCO), 7 (joint)."""

import argparse
import os
from pathlib import Path

import frcnn_alt
from frcnn_alt.engine import build_schedule, configure_step
from frcnn_alt.engine.defaults import setup_cfg
from frcnn_alt.engine.meta_model import build_meta_model

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
VOC07 = {"STEP1": (1, 80000, (60000,), 0.001), "STEP2": (2, 40000, (30000,), 0.001)}
COCO = {"STEP1": (8, 320000, (240000,), 0.003), "STEP2": (16, 320000, (240000,), 0.003)}
SCHEDULES = {
    "zf_4step": VOC07,
    "vgg16_4step": VOC07,
    "vgg16_4step_voc12": VOC07,
    "vgg16_4step_voc0712": {**VOC07, "STEP2": (2, 60000, (30000,), 0.001)},
    "vgg16_4step_voc07pp12": {**VOC07, "STEP2": (2, 100000, (40000, 80000), 0.001)},
    "vgg16_4step_coco": COCO,
    "vgg16_4step_coco_voc0712": {**VOC07, "STEP2": (2, 60000, (30000,), 0.001)},
    "vgg16_4step_coco_voc07pp12": {**VOC07, "STEP2": (2, 100000, (40000, 80000), 0.001)},
}
DATA_SETS = {
    "zf_4step": (("voc_2007_trainval",), ("voc_2007_test",)),
    "vgg16_4step": (("voc_2007_trainval",), ("voc_2007_test",)),
    "vgg16_4step_voc12": (("voc_2012_trainval",), ()),
    "vgg16_4step_voc0712": (("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",)),
    "vgg16_4step_voc07pp12": (("voc_2007_trainval", "voc_2007_test", "voc_2012_trainval"), ()),
    "vgg16_4step_coco": (("coco_2014_train",), ("coco_2014_val",)),
    "vgg16_4step_coco_voc0712": (("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",)),
    "vgg16_4step_coco_voc07pp12": (("voc_2007_trainval", "voc_2007_test", "voc_2012_trainval"), ()),
    "zf_joint": (("voc_2007_trainval",), ("voc_2007_test",)),
    "vgg16_joint": (("voc_2007_trainval",), ("voc_2007_test",)),
    "zf_joint_nonapproximate": (("voc_2007_trainval",), ("voc_2007_test",)),
    "vgg16_joint_nonapproximate": (("voc_2007_trainval",), ("voc_2007_test",)),
    "vgg16_joint_coco": (("coco_2014_train", "coco_2014_valminusminival"), ("coco_2014_minival",)),
    "vgg16_fast_rcnn_coco": (("coco_2014_train",), ("coco_2014_minival",)),
}
JOINT = ["zf_joint", "vgg16_joint", "zf_joint_nonapproximate", "vgg16_joint_nonapproximate"]
PYFRCNN_ON_COCO = ["vgg16_joint_coco", "vgg16_fast_rcnn_coco"]


def load(name):
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / f"{name}.yaml"))
    return cfg


@pytest.mark.parametrize("name", SCHEDULES)
def test_images_iterations_drops_and_rates_of_each_step(name):
    """Steps 3 and 4 are as long as steps 1 and 2."""
    cfg = load(name)
    assert cfg.TRAINER == "AlternatingTrainer" and cfg.SCHEDULE.NAME == "four_step"
    for step in build_schedule(cfg).steps:
        solver = configure_step(cfg, step, "out").SOLVER
        expected = SCHEDULES[name]["STEP1" if step.kind == "rpn" else "STEP2"]
        assert (solver.IMS_PER_BATCH, solver.MAX_ITER, tuple(solver.STEPS), solver.BASE_LR) == expected
        assert (solver.MOMENTUM, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS) == (0.9, 0.0005, None)
        assert (solver.BIAS_LR_FACTOR, solver.GAMMA, solver.WARMUP_ITERS) == (2.0, 0.1, 0)
        assert solver.REFERENCE_WORLD_SIZE == 0 and not solver.CLIP_GRADIENTS.ENABLED and not solver.NESTEROV


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets_are_known_to_detectron2_and_have_as_many_classes(name):
    cfg = load(name)
    assert (tuple(cfg.DATASETS.TRAIN), tuple(cfg.DATASETS.TEST)) == DATA_SETS[name]
    for data_set in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert data_set in DatasetCatalog
        assert len(MetadataCatalog.get(data_set).thing_classes) == cfg.MODEL.ROI_HEADS.NUM_CLASSES
        if data_set.startswith("voc_"):  # of which the evaluator takes the metric: 11 points, or the area
            assert str(MetadataCatalog.get(data_set).year) == data_set.split("_")[1]


def test_every_leaf_beside_the_base_files_is_checked_here():
    leaves = {path.stem for path in CONFIGS.glob("*.yaml") if not path.name.startswith("Base-")}
    assert leaves == set(DATA_SETS) == set(SCHEDULES) | {*JOINT, *PYFRCNN_ON_COCO}


def with_values_of(other, cfg, keys):
    """`cfg` with the data sets, the schedule and these MODEL keys of `other`."""
    for node, leaf in (key.split(".") for key in keys):
        cfg.MODEL[node][leaf] = other.MODEL[node][leaf]
    cfg.DATASETS, cfg.SCHEDULE = other.DATASETS, other.SCHEDULE
    return cfg


def test_coco_differs_from_voc_in_anchors_background_and_classes_alone():
    coco, voc = load("vgg16_4step_coco"), load("vgg16_4step")
    assert coco.MODEL.ANCHOR_GENERATOR.SIZES == [[64, 128, 256, 512]]
    assert (coco.MODEL.ROI_HEADS.IOU_THRESHOLDS, coco.MODEL.ROI_HEADS.IOU_LABELS) == ([0.5], [0, 1])  # [0, 0.5)
    assert coco.MODEL.RPN.POST_NMS_TOPK_TEST == 300 and coco.INPUT.MIN_SIZE_TRAIN == (600,)
    keys = ("ANCHOR_GENERATOR.SIZES", "ROI_HEADS.IOU_THRESHOLDS", "ROI_HEADS.IOU_LABELS", "ROI_HEADS.NUM_CLASSES")
    assert with_values_of(voc, coco, keys) == voc


@pytest.mark.parametrize("data", ["voc0712", "voc07pp12"])
def test_after_coco_only_the_initial_weights_differ_and_are_what_the_coco_run_leaves(data):
    """ "In place of ImageNet" (SPEC 8.11): section 3.2's procedure as it is, VOC's nine anchors included."""
    after, before = load(f"vgg16_4step_coco_{data}"), load(f"vgg16_4step_{data}")
    coco = argparse.Namespace(config_file=str(CONFIGS / "vgg16_4step_coco.yaml"), opts=[])
    assert os.path.join(setup_cfg(coco).OUTPUT_DIR, "model_final.pth") == after.MODEL.WEIGHTS
    assert build_meta_model(after).proposal_generator.anchor_generator.num_anchors == [9]
    after.MODEL.WEIGHTS = before.MODEL.WEIGHTS
    assert after == before


def test_coco_network_has_12_anchors_24_scores_and_48_deltas():
    cfg = load("vgg16_4step_coco")
    network = build_meta_model(cfg)
    generator = network.proposal_generator
    assert generator.anchor_generator.num_anchors == [12]
    assert generator.rpn_head.objectness_logits.out_channels == 24
    assert generator.rpn_head.anchor_deltas.out_channels == 48
    assert network.roi_heads.box_predictor.cls_score.out_features == 81
    assert network.roi_heads.box_predictor.bbox_pred.out_features == 4 * 80


@pytest.mark.parametrize("name", JOINT)
def test_joint_training_has_the_values_of_py_faster_rcnn(name):
    cfg = load(name)
    assert cfg.SCHEDULE.NAME == "joint" and cfg.MODEL.META_ARCHITECTURE == "FasterRCNN"
    (step,) = build_schedule(cfg).steps
    cfg = configure_step(cfg, step, "out")
    solver, rpn, heads, box_head = cfg.SOLVER, cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
    assert (solver.BASE_LR, tuple(solver.STEPS), solver.MAX_ITER, solver.IMS_PER_BATCH) == (0.001, (50000,), 70000, 2)
    assert (solver.MOMENTUM, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS) == (0.9, 0.0005, None)
    assert (solver.BIAS_LR_FACTOR, solver.GAMMA, solver.WARMUP_ITERS) == (2.0, 0.1, 0)
    assert (rpn.BATCH_SIZE_PER_IMAGE, heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION) == (256, 128, 0.25)
    assert (rpn.PRE_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TRAIN) == (12000, 2000)
    assert (heads.IOU_THRESHOLDS, heads.IOU_LABELS) == ([0.5], [0, 1])
    assert box_head.BBOX_REG_STATISTICS == "fixed"
    assert [1 / weight for weight in box_head.BBOX_REG_WEIGHTS] == [0.1, 0.1, 0.2, 0.2]
    assert rpn.BBOX_REG_STATISTICS == "none" and tuple(rpn.BBOX_REG_WEIGHTS) == (1.0, 1.0, 1.0, 1.0)
    sigmas = [beta**-0.5 for beta in (rpn.SMOOTH_L1_BETA, box_head.SMOOTH_L1_BETA)]
    assert sigmas == pytest.approx([3, 1])
    assert rpn.LOSS_WEIGHT == rpn.BBOX_REG_LOSS_WEIGHT == box_head.BBOX_REG_LOSS_WEIGHT == 1.0
    assert rpn.BBOX_REG_NORMALIZER == "samples" and rpn.PROPOSALS_IN_TRAINING and not cfg.MODEL.FREEZE_COMPONENTS
    frozen_blocks = {"zf": 0, "vgg16": 2}[name.split("_")[0]]
    assert frozen_blocks == cfg.MODEL.BACKBONE.FREEZE_AT


@pytest.mark.parametrize(
    "name, drop, end, regions",
    [("vgg16_joint_coco", 350000, 490000, 128), ("vgg16_fast_rcnn_coco", 200000, 280000, 64)],
)
def test_coco_has_the_schedules_of_py_faster_rcnn(name, drop, end, regions):
    """SPEC 6.5: two images a batch, by accumulation or as they are; no dropout."""
    cfg = load(name)
    (step,) = build_schedule(cfg).steps
    assert step.kind == name.split("_", 1)[1].rsplit("_", 1)[0]
    cfg = configure_step(cfg, step, "out")
    solver = cfg.SOLVER
    assert (solver.BASE_LR, tuple(solver.STEPS), solver.MAX_ITER, solver.IMS_PER_BATCH) == (0.001, (drop,), end, 2)
    assert (solver.MOMENTUM, solver.WEIGHT_DECAY, solver.BIAS_LR_FACTOR, solver.GAMMA) == (0.9, 0.0005, 2.0, 0.1)
    assert regions == cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE and cfg.MODEL.ROI_BOX_HEAD.DROPOUT == 0
    network = build_meta_model(cfg)
    assert network.roi_heads.box_predictor.cls_score.out_features == 81
    assert [layer.p for layer in network.roi_heads.box_head if isinstance(layer, nn.Dropout)] == [0, 0]


def test_joint_training_on_coco_differs_from_voc_in_anchors_classes_dropout_and_length_alone():
    coco, voc = load("vgg16_joint_coco"), load("vgg16_joint")
    assert coco.MODEL.ANCHOR_GENERATOR.SIZES == [[64, 128, 256, 512]]
    keys = ("ANCHOR_GENERATOR.SIZES", "ROI_HEADS.NUM_CLASSES", "ROI_BOX_HEAD.DROPOUT")
    assert with_values_of(voc, coco, keys) == voc


def test_fast_rcnn_on_coco_trains_on_what_py_faster_rcnn_does():
    """At most 2000 proposals, none of them in crowds; background from 0.1, and the statistics of each class."""
    cfg = load("vgg16_fast_rcnn_coco")
    assert cfg.DATASETS.PROPOSAL_CROWD_THRESH == 0.7 and cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN == 2000
    assert (cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS, cfg.MODEL.ROI_HEADS.IOU_LABELS) == ([0.1, 0.5], [-1, 0, 1])
    assert cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS == "per_class"


@pytest.mark.parametrize("net", ["zf", "vgg16"])
def test_nonapproximate_differs_from_approximate_in_pooling_and_gradient_alone(net):
    """MNC's clamp of 1 / 512; the warp has the frame of inclusive corners by itself."""
    exact, approximate = load(f"{net}_joint_nonapproximate"), load(f"{net}_joint")
    assert exact.MODEL.RPN.PROPOSAL_GRADIENT and exact.MODEL.RPN.PROPOSAL_GRADIENT_CLAMP == 1 / 512
    assert exact.MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS == "clipped_coordinates"
    assert exact.MODEL.ROI_BOX_HEAD.DETACH_TARGETS and exact.MODEL.ROI_BOX_HEAD.POOLER_TYPE == "ROIWarp"
    for node, keys in (
        ("RPN", ["PROPOSAL_GRADIENT", "PROPOSAL_GRADIENT_CLAMP"]),
        ("ROI_BOX_HEAD", ["POOLER_TYPE", "POOLER_INCLUSIVE_CORNERS"]),
    ):
        for key in keys:
            assert exact.MODEL[node][key] != approximate.MODEL[node][key]
            exact.MODEL[node][key] = approximate.MODEL[node][key]
    assert exact == approximate
