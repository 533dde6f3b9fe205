"""What is found before an hour is spent: keys that contradict each other, missing files, wrong shapes."""

import os

from frcnn_alt import get_cfg
from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import (
    AlternatingTrainer,
    ConfigError,
    build_trainer,
    check_config,
    default_argument_parser,
    main,
    setup_cfg,
)

import pytest
import torch

CONFIGS = os.path.join(os.path.dirname(__file__), "..", "..", "configs")


def _config(name="Base-RCNN-ZF.yaml", **values):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(CONFIGS, name))
    cfg.DATASETS.TRAIN = ("some",)
    for key, value in values.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def test_base_configs_have_no_contradictions():
    for name in ("Base-RCNN-ZF.yaml", "Base-RCNN-VGG16.yaml"):
        assert check_config(_config(name)) == []


@pytest.mark.parametrize(
    "key, value",
    [
        ("SCHEDULE.NAME", "five_step"),
        ("MODEL.BACKBONE.NAME", "build_vgg19_backbone"),
        ("MODEL.RPN.HEAD_NAME", "SoftRPNHead"),
        ("MODEL.RPN.BBOX_REG_NORMALIZER", "cells"),
        ("MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "measured"),
        ("SCHEDULE.STEP4_BOX_PREDICTOR", "step1"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"),
        ("MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS", False),  # rounding is for these alone
        ("MODEL.BBOX_DECODING", "larger"),
        ("SCHEDULE.PROPOSALS.FLIPPED_IMAGES", "flipped"),
        ("INPUT.RANDOM_FLIP", "sideways"),
        ("INPUT.RANDOM_FLIP", "vertical"),  # nothing is computed for these
        ("SCHEDULE.STEP2.OPTS", ["SCHEDULE.PROPOSALS.FLIPPED_IMAGES", 3]),
        ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
        ("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)),
        ("SCHEDULE.STEP2.MAX_ITER", 0),
        ("SCHEDULE.STEP3.BASE_LR", 0.0),
        ("SCHEDULE.STEP4.OPTS", ["SOLVER.MAX_ITERS", 3]),
        ("SCHEDULE.STEP1.OPTS", ["SOLVER.MAX_ITER"]),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"),
        ("MODEL.WEIGHTS", "nowhere/zf.pth"),
        ("DATASETS.TRAIN", ()),
        ("INPUT.FORMAT", "BRG"),
        ("INPUT.MIN_SIZE_TRAIN", ()),
        ("DATALOADER.NUM_WORKERS", -1),
        ("SOLVER.CHECKPOINT_PERIOD", 0),
        ("SOLVER.NONFINITE_SKIPS", -1),
        ("SOLVER.LR_SCHEDULER_NAME", "Multistep"),
        ("MODEL.DEVICE", "gpu"),
        ("SCHEDULE.STEP1.STEPS", (2, 1)),
        ("MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.5]),  # with three labels
        ("MODEL.RPN.IOU_LABELS", [0, 1]),
    ],
)
def test_each_contradiction_is_named_with_its_key(key, value):
    cfg = _config()
    cfg.merge_from_list([key, value])
    problems = check_config(cfg)
    assert len(problems) == 1 and key.rsplit(".", 1)[-1] in problems[0], problems


@pytest.mark.parametrize("device, is_right", [("cuda", True), ("cuda:1", False), ("cpu", False)])
def test_several_processes_with_a_gpu_each_train_on_their_own(device, is_right, monkeypatch):
    cfg = _config(MODEL__DEVICE=device, SOLVER__REFERENCE_WORLD_SIZE=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert check_config(cfg) == []
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    problems = check_config(cfg)
    assert is_right == (not problems) and all("2 processes have a GPU each" in problem for problem in problems)


def test_combinations_of_switches_that_do_agree():
    for values in (
        {"MODEL__ROI_BOX_HEAD__POOLER_INCLUSIVE_CORNERS": False, "MODEL__ROI_BOX_HEAD__POOLER_ROUND_CORNERS": False},
        {"MODEL__ROI_BOX_HEAD__POOLER_ROUND_CORNERS": False, "MODEL__BBOX_DECODING": "one_pixel_larger"},
        {"SCHEDULE__PROPOSALS__FLIPPED_IMAGES": "mirrored", "INPUT__RANDOM_FLIP": "vertical"},
        {"INPUT__RANDOM_FLIP": "none"},
        {"SCHEDULE__STEP2__OPTS": ["INPUT.RANDOM_FLIP", "none"]},
    ):
        assert check_config(_config(**values)) == [], values


def test_rounded_corners_with_interpolating_pooling():
    cfg = _config(MODEL__ROI_BOX_HEAD__POOLER_TYPE="ROIAlign", MODEL__ROI_BOX_HEAD__POOLER_INCLUSIVE_CORNERS=False)
    (problem,) = check_config(cfg)
    assert "POOLER_ROUND_CORNERS is for ROIPool" in problem and "set POOLER_ROUND_CORNERS False" in problem


def test_a_single_step_that_flips_has_no_flipped_proposals():
    cfg = _config(INPUT__RANDOM_FLIP="none", SCHEDULE__STEP2__OPTS=["INPUT.RANDOM_FLIP", "horizontal"])
    (problem,) = check_config(cfg)
    assert "SCHEDULE.STEP2.OPTS sets INPUT.RANDOM_FLIP 'horizontal'" in problem
    cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = "mirrored"
    assert check_config(cfg) == []


def _args(*words):
    return default_argument_parser().parse_args(list(words))


def test_typo_in_a_key_proposes_the_right_one():
    with pytest.raises(ConfigError, match="Did you mean SOLVER.BASE_LR"):
        setup_cfg(_args("--config-file", os.path.join(CONFIGS, "zf_4step.yaml"), "SOLVER.BASE_LRR", "0.1"))


def test_typo_in_a_yaml_names_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("MODEL: {BACKBONES: {NAME: x}}\n")
    with pytest.raises(ConfigError, match="mine.yaml.*MODEL.BACKBONES"):
        setup_cfg(_args("--config-file", str(path)))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config-file", "configs/nowhere.yaml"], "configs/nowhere.yaml"),
        (["--overlay", CONFIGS], "is a folder"),
        (["--overlay", os.path.join(CONFIGS, "zf_4step.yaml"), "modern.yaml"], "modern.yaml .*its own --overlay"),
        (["--overlay", os.path.join(CONFIGS, "zf_4step.yaml"), "a.yaml", "b.yaml"], "a.yaml .*its own --overlay"),
        (["SOLVER.BASE_LR"], "pairs"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER|Type mismatch"),
        (["DATASETS.VOC_LAYOUT.ROOT", "/nowhere/at/all"], "DATASETS.VOC_LAYOUT.ROOT"),
    ],
)
def test_wrong_command_lines_are_one_clear_error(words, message):
    with pytest.raises(ValueError, match=message):
        setup_cfg(_args(*words))


def test_yaml_that_does_not_parse(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("MODEL: [\n")
    with pytest.raises(ConfigError, match="broken.yaml"):
        setup_cfg(_args("--config-file", str(path)))


def test_output_dir_is_named_after_the_config():
    cfg = setup_cfg(_args("--config-file", os.path.join(CONFIGS, "zf_4step.yaml")))
    assert os.path.join("output", "zf_4step") == cfg.OUTPUT_DIR
    assert (
        setup_cfg(_args("--config-file", os.path.join(CONFIGS, "zf_4step.yaml"), "OUTPUT_DIR", "x")).OUTPUT_DIR == "x"
    )


@pytest.mark.parametrize("name, backbone", [("vgg16_4step", 14714688), ("zf_4step", 3726464)])
def test_front_doors_plan_the_papers_values_and_name_what_is_missing(name, backbone, capsys, tmp_path):
    """Parameter counts by hand: VGG-16's 13 convolutions 14714688, ZF's five 3726464."""
    args = _args("--config-file", os.path.join(CONFIGS, f"{name}.yaml"), "--dry-run", "OUTPUT_DIR", str(tmp_path))
    assert main(args) == 1
    printed = capsys.readouterr().out
    assert "80000 x 1" in printed and "40000 x 2" in printed and "0.0001 from 60000" in printed
    assert f"{backbone:,}" in printed  # frozen in steps 3 and 4
    assert "imagenet.pth does not exist" in printed and "VOC2007" in printed and "host.robots.ox.ac.uk" in printed


def test_weights_of_another_architecture_are_found_by_the_plan(tmp_path):
    root = str(tmp_path / "shapes")
    make_shapes(root, seed=0, num_trainval=2, num_test=1, size=(64, 48))
    weights = str(tmp_path / "w.pth")
    torch.save({"model": {"backbone.conv1.weight": torch.zeros(96, 3, 11, 11)}}, weights)
    opts = ["DATASETS.VOC_LAYOUT.ROOT", root, "MODEL.WEIGHTS", weights]
    cfg = setup_cfg(_args("--config-file", os.path.join(CONFIGS, "zf_4step.yaml"), *opts))
    problems = AlternatingTrainer(cfg).plan().problems
    assert any("backbone.conv1.weight" in p and "(96, 3, 11, 11)" in p and "(96, 3, 7, 7)" in p for p in problems)


@pytest.mark.parametrize("name", ["zf_4step", "zf_joint"])
def test_a_training_set_without_a_usable_box_is_found_by_the_plan(name, voc_folder, own_catalogs, tmp_path, capsys):
    root = voc_folder({"a": [("dog", 2, 2, 30, 30, 1)], "b": []}, classes=["dog"])
    opts = ["DATASETS.VOC_LAYOUT.ROOT", str(root), "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tmp_path / "run")]
    assert main(_args("--config-file", os.path.join(CONFIGS, f"{name}.yaml"), "--dry-run", *opts)) == 1
    assert "TO MEND: No image of tiny_trainval has a box" in capsys.readouterr().out


def test_weights_trained_on_other_pixels_are_found_by_the_plan(tmp_path):
    root = str(tmp_path / "shapes")
    make_shapes(root, seed=0, num_trainval=2, num_test=1, size=(64, 48))
    weights = str(tmp_path / "w.pth")
    about = {"input_format": "RGB", "pixel_mean": [1.0, 2.0, 3.0]}
    torch.save(
        {
            "model": {"backbone.conv1.bias": torch.zeros(96), "roi_heads.box_head.fc6.bias": torch.zeros(4096)},
            "frcnn_alt": about,
        },
        weights,
    )
    opts = ["DATASETS.VOC_LAYOUT.ROOT", root, "MODEL.WEIGHTS", weights]
    plan = AlternatingTrainer(setup_cfg(_args("--config-file", os.path.join(CONFIGS, "zf_4step.yaml"), *opts))).plan()
    assert len(plan.problems) == 1 and weights in plan.problems[0]
    assert plan.problems[0].endswith('Set: INPUT.FORMAT RGB MODEL.PIXEL_MEAN "[1,2,3]"')


def test_unregistered_trainer_is_named():
    cfg = _config()
    cfg.TRAINER = "Alternating"
    with pytest.raises(ConfigError, match="AlternatingTrainer"):
        build_trainer(cfg)


@pytest.mark.parametrize("content", ["", "just a sentence"])
def test_files_that_are_no_config(tmp_path, content):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match="a.yaml"):
        setup_cfg(_args("--config-file", str(tmp_path / "a.yaml")))


def test_flags_after_overrides_are_explained():
    with pytest.raises(ConfigError, match="Flags go before"):
        setup_cfg(_args("SOLVER.BASE_LR", "0.1", "--resume"))
