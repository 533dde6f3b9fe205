"""The presets: what each sets, that it lies over any config of ours, and that the documents tell all of it."""

import argparse
import ast
import re
from fractions import Fraction
from pathlib import Path

import frcnn_alt
from frcnn_alt.engine import ConfigError, check_config, setup_cfg

import pytest
import yaml
from config_keys import leaf_keys
from detectron2.config import CfgNode
from detectron2.config import get_cfg as get_detectron2_cfg

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "configs"
PRESETS = ("paper", "pyfrcnn", "modern")
FOUR_STEP = ("zf_4step.yaml", "vgg16_4step.yaml")


def keys_of(preset):
    with open(CONFIGS / "presets" / f"{preset}.yaml") as file:
        keys = leaf_keys(yaml.safe_load(file))
    del keys["VERSION"]
    return keys


def load(config, *presets):
    args = argparse.Namespace(
        config_file=str(CONFIGS / config),
        overlay=[str(CONFIGS / "presets" / f"{preset}.yaml") for preset in presets],
        opts=["MODEL.WEIGHTS", ""],
    )
    return setup_cfg(args)


@pytest.fixture(autouse=True)
def catalogs(own_catalogs):
    pass


@pytest.mark.parametrize("config", FOUR_STEP)
def test_paper_is_the_default(config):
    plain, paper = load(config), load(config, "paper")
    assert paper.OUTPUT_DIR != plain.OUTPUT_DIR
    paper.OUTPUT_DIR = plain.OUTPUT_DIR
    assert paper == plain


@pytest.mark.parametrize("preset", ["pyfrcnn", "modern"])
def test_paper_puts_back_what_the_others_change(preset):
    assert set(keys_of(preset)) <= set(keys_of("paper"))
    back = leaf_keys(load("zf_4step.yaml", preset, "paper"))
    paper = leaf_keys(load("zf_4step.yaml", "paper"))
    assert {key: back[key] for key in keys_of("paper")} == {key: paper[key] for key in keys_of("paper")}


def test_the_switches_of_pyfrcnn():
    """Every line of SPEC 6.6 (the pixel mean is one value a channel in both, see docs/PRESETS.md), 4.4 and 5.4."""
    paper, pyfrcnn = leaf_keys(load("vgg16_4step.yaml")), leaf_keys(load("vgg16_4step.yaml", "pyfrcnn"))
    changed = {key: (paper[key], pyfrcnn[key]) for key in paper if paper[key] != pyfrcnn[key] and key != "OUTPUT_DIR"}
    assert changed == {
        "SCHEDULE.STEP4_BOX_PREDICTOR": ("step2_fast_rcnn", "new"),
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": ([0.1, 0.5], [0.5]),
        "MODEL.ROI_HEADS.IOU_LABELS": ([-1, 0, 1], [0, 1]),
        "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": (10.0, 1.0),
        "MODEL.RPN.BBOX_REG_NORMALIZER": ("locations", "samples"),
        "MODEL.RPN.BBOX_REG_STATISTICS": ("measured", "none"),
        "MODEL.RPN.SMOOTH_L1_BETA": (1.0, pytest.approx(1 / 3**2)),
        "MODEL.BBOX_DECODING": ("inverse", "one_pixel_larger"),
        "MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS": (True, False),
        "MODEL.ROI_HEADS.PRE_NMS_TOPK_PER_CLASS_TEST": (100, -1),
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": (0.0, 0.05),
        "TEST.MEAN_BOXES_PER_CLASS": (40, -1),
        "TEST.DETECTIONS_PER_IMAGE": (-1, 100),
        "SCHEDULE.PROPOSALS.FLIPPED_IMAGES": ("recomputed", "mirrored"),
        "SEED": (6, 3),
    }


# docs/PRESETS.md, "modern": all that the preset sets.
MODERN = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.5,
    "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0,
    "MODEL.RPN.HEAD_NAME": "StandardRPNHead",
    "MODEL.RPN.BOUNDARY_THRESH": -1,
    "MODEL.RPN.SMOOTH_L1_BETA": 0.0,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 1.0,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.IOU_LABELS": [0, 1],
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.0,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "TEST.MEAN_BOXES_PER_CLASS": -1,
    "SCHEDULE.PROPOSALS.FLIPPED_IMAGES": "mirrored",
    "SOLVER.BIAS_LR_FACTOR": 1.0,
}


@pytest.mark.parametrize("config", FOUR_STEP)
def test_the_switches_of_modern(config):
    paper, modern = leaf_keys(load(config)), leaf_keys(load(config, "modern"))
    assert set(keys_of("modern")) == set(MODERN)
    assert {key: modern[key] for key in MODERN} == MODERN
    changed = {key for key in paper if paper[key] != modern[key] and key != "OUTPUT_DIR"}
    assert changed == set(MODERN)


def test_modern_is_detectron2s_defaults_but_for_two_keys():
    stock = leaf_keys(get_detectron2_cfg())
    others = {key: stock[key] for key, value in MODERN.items() if key in stock and stock[key] != value}
    assert others == {"MODEL.ANCHOR_GENERATOR.OFFSET": 0.0, "MODEL.ROI_HEADS.NAME": "Res5ROIHeads"}
    ours = set(MODERN) - set(stock)
    assert ours == {"TEST.MEAN_BOXES_PER_CLASS", "SCHEDULE.PROPOSALS.FLIPPED_IMAGES"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("config", FOUR_STEP)
def test_its_keys_agree_with_each_other(config, preset):
    assert check_config(load(config, preset)) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_a_leaf_takes_it_as_a_second_base(preset, tmp_path):
    leaf = tmp_path / "leaf.yaml"
    leaf.write_text(f"_BASE_: ['{CONFIGS}/zf_4step.yaml', '{CONFIGS}/presets/{preset}.yaml']\n")
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(leaf))
    laid_over = load("zf_4step.yaml", preset)
    laid_over.OUTPUT_DIR, laid_over.MODEL.WEIGHTS = cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS
    laid_over.MODEL.DEVICE = cfg.MODEL.DEVICE
    assert cfg == laid_over


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_is_explained_in_the_document(preset):
    text = (REPOSITORY / "docs" / "PRESETS.md").read_text("utf-8")
    missing = [key for key in keys_of(preset) if f"`{key}`" not in text]
    assert not missing


def told_values():
    """(preset, key, value) of every cell of the document's tables; a value stands before a colon or a bracket."""
    presets = []
    for line in (REPOSITORY / "docs" / "PRESETS.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "key":
            presets = [
                re.findall(r"`(\w+)`", cell) or (["paper", "pyfrcnn"] if cell == "both" else []) for cell in cells
            ]
        elif presets and re.fullmatch(r"`[A-Z][A-Z0-9_.]+`", cells[0]):
            for names, cell in zip(presets, cells):
                yield from ((name, cells[0].strip("`"), as_value(cell)) for name in names)
        elif not line.startswith("|"):
            presets = []


def as_value(cell):
    cell = re.split(r": | \(", cell)[0]
    if cell.startswith("`") or cell == "empty":
        return "" if cell == "empty" else cell.strip("`")
    return float(Fraction(cell)) if re.fullmatch(r"\d+/\d+", cell) else ast.literal_eval(cell)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_document_tells_the_values_that_it_has(preset):
    told = [(key, value) for name, key, value in told_values() if name == preset]
    assert {key for key, _ in told} >= set(keys_of(preset))
    values = leaf_keys(load("zf_4step.yaml", preset))
    wrong = [(key, value, values[key]) for key, value in told if values[key] != value]
    assert not wrong


def test_an_overlay_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="not found: .*nosuch.yaml"):
        load("zf_4step.yaml", "nosuch")


def test_a_typo_in_an_overlay_is_named_with_its_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("TEST: {MEAN_BOXES_PER_CLAS: 3}\n")
    args = argparse.Namespace(config_file="", overlay=[str(tmp_path / "mine.yaml")], opts=[])
    with pytest.raises(ConfigError, match="mine.yaml.*MEAN_BOXES_PER_CLAS.*Did you mean TEST.MEAN_BOXES_PER_CLASS"):
        setup_cfg(args)


def test_output_folder_carries_the_names_of_config_and_overlays():
    assert load("zf_4step.yaml", "pyfrcnn").OUTPUT_DIR == "output/zf_4step_pyfrcnn"
    assert isinstance(load("zf_4step.yaml", "pyfrcnn"), CfgNode)
