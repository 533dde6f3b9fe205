"""config: detectron2's keys are untouched, every key of ours carries its reason, every yaml merges."""

import ast
import json
from pathlib import Path

import frcnn_alt
from frcnn_alt import config

import pytest
from config_keys import leaf_keys
from detectron2.config import get_cfg as get_detectron2_cfg

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# Those in tables/ are no configs, but name some (tests/sweep/test_read_table.py).
_CONFIG_FILES = [path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "tables"]
YAML_FILES = sorted(str(path.relative_to(CONFIGS)) for path in _CONFIG_FILES)
# Presets (tests/test_presets.py) and overlays are laid over other configs.
LEAVES = [
    name
    for name in YAML_FILES
    if not Path(name).name.startswith("Base-") and not {"presets", "overlays"} & set(Path(name).parts)
]


def test_every_key_of_detectron2_keeps_its_value():
    stock, ours = leaf_keys(get_detectron2_cfg()), leaf_keys(frcnn_alt.get_cfg())
    assert {key: ours.get(key) for key in stock} == stock
    assert set(ours) - set(stock)


def test_adding_keys_to_somebody_elses_config_gives_the_same():
    cfg = get_detectron2_cfg()
    cfg.MODEL.DEVICE = "cpu"
    frcnn_alt.add_frcnn_alt_config(cfg)
    expected = frcnn_alt.get_cfg()
    expected.MODEL.DEVICE = "cpu"
    assert cfg == expected


def test_a_config_is_a_new_copy_each_time():
    frcnn_alt.get_cfg().SCHEDULE.STEP1.MAX_ITER = 1
    frcnn_alt.get_cfg().SCHEDULE.STEP1.OPTS.append("x")
    assert frcnn_alt.get_cfg().SCHEDULE.STEP1.MAX_ITER == 80000
    assert frcnn_alt.get_cfg().SCHEDULE.STEP1.OPTS == []


def documented_names():
    """Last parts of the keys that config.py assigns under a comment, and of those it assigns without one.

    A comment covers the lines below it up to the next blank line; or it stands at the end of the key's own line.
    """
    source = Path(config.__file__).read_text("utf-8")
    lines = source.splitlines()
    documented, undocumented = set(), set()
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in (target for target in targets if isinstance(target, ast.Attribute)):
            above = node.lineno - 2
            while lines[above].strip() and not lines[above].lstrip().startswith("#"):
                above -= 1
            covered = lines[above].lstrip().startswith("#") or "  # " in lines[node.lineno - 1]
            (documented if covered else undocumented).add(target.attr)
    return documented, undocumented


def test_every_added_key_has_a_comment_in_the_source():
    documented, undocumented = documented_names()
    added = set(leaf_keys(frcnn_alt.get_cfg())) - set(leaf_keys(get_detectron2_cfg()))
    assert not undocumented
    assert {key.split(".")[-1] for key in added} <= documented


def load(name):
    cfg = frcnn_alt.get_cfg()
    cfg.merge_from_file(str(CONFIGS / name))
    return cfg


@pytest.mark.parametrize("name", YAML_FILES)
def test_yaml_merges_and_survives_being_written_and_read(name, tmp_path):
    cfg = load(name)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = frcnn_alt.get_cfg()
    again.merge_from_file(str(tmp_path / "config.yaml"))
    # as text, because the tuples within tuples of stock keys come back as lists
    assert json.dumps(leaf_keys(again)) == json.dumps(leaf_keys(cfg))


@pytest.mark.parametrize("name", LEAVES)
def test_leaf_is_at_most_fifteen_lines_over_its_bases(name):
    lines = [line for line in (CONFIGS / name).read_text("utf-8").splitlines() if line.split("#")[0].strip()]
    bases = [line for line in lines if line.startswith("_BASE_:")]
    assert len(bases) == 1
    assert len(lines) - len(bases) <= 15


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Base-RCNN-ZF.yaml", {"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 6, "MODEL.BACKBONE.FREEZE_AT": 0}),
        ("Base-RCNN-VGG16.yaml", {"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7, "MODEL.BACKBONE.FREEZE_AT": 2}),
    ],
)
def test_base_configs_hold_the_papers_values(name, expected):
    """SPEC 2 (input), 3.1 (anchors), 4 (RPN), 5 (Fast R-CNN), 6.1 (solver): numbers written down there."""
    expected = {
        **expected,
        "INPUT.FORMAT": "BGR",
        "INPUT.MIN_SIZE_TRAIN": (600,),
        "INPUT.MAX_SIZE_TRAIN": 1000,
        "INPUT.MIN_SIZE_TEST": 600,
        "INPUT.MAX_SIZE_TEST": 1000,
        "INPUT.RANDOM_FLIP": "horizontal",
        "MODEL.PIXEL_MEAN": [102.9801, 115.9465, 122.7717],
        "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[128, 256, 512]],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
        "MODEL.RPN.BOUNDARY_THRESH": 0,
        "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
        "MODEL.RPN.POSITIVE_FRACTION": 0.5,
        "MODEL.RPN.SMOOTH_L1_BETA": 1.0,
        "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 10.0,
        "MODEL.RPN.NMS_THRESH": 0.7,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 300,
        "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 16,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 64,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.1, 0.5],
        "MODEL.ROI_HEADS.IOU_LABELS": [-1, 0, 1],
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.3,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 4096,
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIPool",
        "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 1.0,
        "MODEL.ROI_BOX_HEAD.DROPOUT": 0.5,
        "SOLVER.MOMENTUM": 0.9,
        "SOLVER.WEIGHT_DECAY": 0.0005,
        "SOLVER.BIAS_LR_FACTOR": 2.0,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.GAMMA": 0.1,
        "DATALOADER.ASPECT_RATIO_GROUPING": True,
    }
    keys = leaf_keys(load(name))
    assert {key: keys[key] for key in expected} == expected


def test_default_schedule_is_that_of_voc07():
    """SPEC 6.1: images per batch, iterations, learning rate drop."""
    schedule = frcnn_alt.get_cfg().SCHEDULE
    steps = [schedule.STEP1, schedule.STEP2, schedule.STEP3, schedule.STEP4]
    assert [(s.IMS_PER_BATCH, s.MAX_ITER, s.STEPS, s.BASE_LR) for s in steps] == [
        (1, 80000, (60000,), 0.001),
        (2, 40000, (30000,), 0.001),
        (1, 80000, (60000,), 0.001),
        (2, 40000, (30000,), 0.001),
    ]
