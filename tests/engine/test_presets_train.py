"""Every preset trains all four steps in miniature, and what it leaves behind is that preset's network."""

import os

from frcnn_alt import get_cfg

import numpy as np
import pytest
from detectron2.engine import DefaultPredictor
from miniature import CONFIGS, STEPS, run, tiny_config, weights_of

# preset -> rows of statistics in the final state dict, channels of the RPN's scores (9 anchors), second proposal sets
LEFT_BEHIND = {
    "paper": ({"proposal_generator": 1, "roi_heads.box_predictor": 4}, 18, True),
    "pyfrcnn": ({"roi_heads.box_predictor": 4}, 18, False),
    "modern": ({}, 9, False),
}


@pytest.mark.parametrize("net", ["ZF", "VGG16"])
@pytest.mark.parametrize("preset", sorted(LEFT_BEHIND))
def test_trains_and_leaves_its_network(preset, net, shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run", net=net)
    min_size = cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE
    cfg.merge_from_file(os.path.join(CONFIGS, "presets", f"{preset}.yaml"))
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = min_size
    for number in range(1, 5):
        cfg.SCHEDULE[f"STEP{number}"].BASE_LR = 1e-4  # 512 regions an image from random weights diverge at the paper's
    results = run(cfg)
    assert np.isfinite(results["bbox"]["AP50"])

    statistics, score_channels, has_flipped_sets = LEFT_BEHIND[preset]
    state = weights_of(cfg.OUTPUT_DIR, "")
    rows = {n[: -len(".box2box_transform.std")]: len(v) for n, v in state.items() if n.endswith("transform.std")}
    assert rows == statistics
    assert len(state["proposal_generator.rpn_head.objectness_logits.bias"]) == score_channels
    for step in (STEPS[0], STEPS[2]):
        sets = os.listdir(os.path.join(cfg.OUTPUT_DIR, step, "proposals"))
        assert any("flipped" in name for name in sets) == has_flipped_sets

    final = get_cfg()
    final.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    instances = DefaultPredictor(final)(np.zeros((60, 80, 3), np.uint8))["instances"]
    assert instances.image_size == (60, 80)
