"""docs/SCHEDULES.md: the schedule of one's own that it shows runs, and the commands that it names parse.

So do those of docs/ABLATIONS.md, which has the other overlays.
"""

import json
import re
import shlex
from pathlib import Path

from frcnn_alt.checkpointing import hash_tensors, read_checkpoint
from frcnn_alt.engine import SCHEDULE_REGISTRY, AlternatingTrainer, default_argument_parser, setup_cfg

import pytest
import torch
from miniature import STEPS, run, tiny_config, weights_of, write_initial_weights

ROOT = Path(__file__).resolve().parents[2]
TEXT, ABLATIONS = ((ROOT / "docs" / name).read_text("utf-8") for name in ("SCHEDULES.md", "ABLATIONS.md"))


def test_the_schedule_of_ones_own(shapes, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(compile(code, "SCHEDULES.md", "exec"), {})
    try:
        cfg = tiny_config(shapes, tmp_path / "run", weights=str(tmp_path / "initial.pth"))
        write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
        cfg.SCHEDULE.NAME = "detector_on_frozen_convolutions"
        plan = AlternatingTrainer(cfg).plan()
        assert plan.problems == [] and [entry["frozen"] for entry in plan.steps] == [["backbone"], ["backbone"]]
        assert "AP50" in run(cfg)["bbox"]
        one, two = (weights_of(cfg.OUTPUT_DIR, name) for name in ("step1_rpn", "step2_fast_rcnn"))
        assert all((one[name] == two[name]).all() for name in one if name.startswith("backbone."))
    finally:
        SCHEDULE_REGISTRY._obj_map.pop("detector_on_frozen_convolutions")


def test_components_frozen_by_the_config_stand_still_and_are_in_the_manifest(shapes, tmp_path):
    """Also normalisation statistics in them, and what the plan says of it."""
    cfg = tiny_config(shapes, tmp_path / "run", weights=str(tmp_path / "initial.pth"))
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    cfg.SCHEDULE.RUN_ONLY = "1-2"
    cfg.MODEL.FREEZE_COMPONENTS = ("backbone.conv1", "roi_heads.box_head")
    run(cfg)
    initial = read_checkpoint(cfg.MODEL.WEIGHTS)["model"]
    one, two = (weights_of(cfg.OUTPUT_DIR, name) for name in STEPS[:2])
    for state in (one, two):
        assert torch.equal(state["backbone.conv1.weight"], initial["backbone.conv1.weight"])
        assert not torch.equal(state["backbone.conv2.weight"], initial["backbone.conv2.weight"])
    assert torch.equal(two["roi_heads.box_head.fc6.weight"], initial["roi_heads.box_head.fc6.weight"])
    entries = json.loads((tmp_path / "run" / "manifest.json").read_text())["steps"]
    assert [entry["frozen"] for entry in entries[:2]] == [["backbone.conv1"], ["backbone.conv1", "roi_heads.box_head"]]
    for entry, state in zip(entries[:2], (one, two)):
        still = {name: state[name] for name in state if name.startswith(tuple(f"{c}." for c in entry["frozen"]))}
        assert entry["frozen_hash"] == dict.fromkeys(("before", "after"), hash_tensors(still))


def test_a_frozen_layer_of_box_deltas_keeps_the_statistics_it_learnt_with(shapes, tmp_path):
    """Else the same deltas would be decoded to other boxes."""
    cfg = tiny_config(shapes, tmp_path / "run", weights=str(tmp_path / "initial.pth"))
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    cfg.SCHEDULE.STEP4.OPTS = ["MODEL.FREEZE_COMPONENTS", ["roi_heads.box_predictor"]]
    run(cfg)
    two, four = (weights_of(cfg.OUTPUT_DIR, STEPS[index]) for index in (1, 3))
    names = [name for name in two if name.startswith("roi_heads.box_predictor.")]
    assert any(name.endswith(".std") for name in names)
    assert all(torch.equal(two[name], four[name]) for name in names)
    assert not torch.equal(two["roi_heads.box_head.fc6.weight"], four["roi_heads.box_head.fc6.weight"])


def test_what_a_step_that_is_not_run_would_freeze_does_not_matter(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run")
    cfg.MODEL.FREEZE_COMPONENTS = ("roi_heads",)
    assert any("step4_fast_rcnn has nothing to train" in text for text in AlternatingTrainer(cfg).plan().problems)
    cfg.SCHEDULE.RUN_ONLY = "1"
    plan = AlternatingTrainer(cfg).plan()
    assert plan.problems == []
    row = next(line for line in str(plan).splitlines() if line.startswith("| step4_fast_rcnn"))
    assert {cell.strip() for cell in row.split("|")[2:-1]} == {"-"}


def test_every_overlay_is_in_the_table_and_every_name_is_a_schedule():
    files = {path.name for path in (ROOT / "configs" / "overlays").glob("*.yaml")}
    in_tables = set(re.findall(r"^\| .*?`(\w+\.yaml)`", TEXT + ABLATIONS, re.M))
    assert files - in_tables == {"four_step.yaml"} <= set(re.findall(r"overlays/(\w+\.yaml)", TEXT))
    assert in_tables - files <= {path.name for path in (ROOT / "configs").glob("*.yaml")}
    rows = re.findall(r"^\| `(\w+)`[^|]*\| [^|]*\| [^|]*\| [^|]*\|$", TEXT, re.M)
    assert (
        set(rows)
        == {"four_step", "unshared", "rpn", "fast_rcnn", "one_stage", "joint"}
        <= {name for name, _ in SCHEDULE_REGISTRY}
    )


@pytest.mark.parametrize("command", re.findall(r"^python tools/train_net.py ((?:.*\\\n)*.*)$", TEXT + ABLATIONS, re.M))
def test_commands_are_what_the_front_door_understands(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command.replace("\\\n", " "))
    args = default_argument_parser().parse_args(words)
    if any(folder in args.config_file for folder in ("detectron2/configs/", "output/", "configs/demo/")):
        args.config_file = ""  # not at hand, or its images are not
    setup_cfg(args)
