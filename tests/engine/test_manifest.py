"""What decides that a step is finished, and what does not."""

import json

from frcnn_alt import get_cfg
from frcnn_alt.engine.manifest import Manifest, command_of_weights, config_hash, has_no_effect, write_json

import pytest
import torch


def _changed(**values):
    cfg = get_cfg()
    cfg.merge_from_list([part for key, value in values.items() for part in (key.replace("__", "."), value)])
    return cfg


def test_hash_sees_config_and_inputs_but_not_places_and_machines():
    inputs = {"weights": "aa", "seed": "1"}
    same = config_hash(get_cfg(), inputs)
    for key, value in [
        ("OUTPUT_DIR", "elsewhere"),
        ("DATALOADER.NUM_WORKERS", 9),
        ("MODEL.DEVICE", "cpu"),
        ("MODEL.WEIGHTS", "the/same/file/elsewhere.pth"),
        ("SOLVER.CHECKPOINT_PERIOD", 3),
        ("SCHEDULE.STEP4.MAX_ITER", 3),  # each step's own values stand in its SOLVER
    ]:
        cfg = get_cfg()
        cfg.merge_from_list([key, value])
        assert config_hash(cfg, inputs) == same, key
    for cfg, other in [
        (_changed(SOLVER__BASE_LR=0.5), inputs),
        (_changed(MODEL__RPN__NMS_THRESH=0.6), inputs),
        (get_cfg(), {**inputs, "weights": "bb"}),
        (get_cfg(), {**inputs, "seed": "2"}),
    ]:
        assert config_hash(cfg, other) != same


def test_hash_is_of_values_and_not_of_how_they_came_to_be():
    """Of a config in memory and of the same one read from its file, where lists are tuples and nothing is shared."""
    shared = (1.0, 2.0, 3.0, 4.0)
    cfg = _changed(SOLVER__STEPS=(3,))
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = cfg.MODEL.RPN.BBOX_REG_WEIGHTS = shared
    read = get_cfg()
    read.merge_from_other_cfg(type(cfg).load_cfg(cfg.dump()))
    apart = cfg.clone()
    apart.MODEL.RPN.BBOX_REG_WEIGHTS, apart.SOLVER.STEPS = [1.0, 2.0, 3.0, 4.0], [3]
    assert config_hash(cfg, {}) == config_hash(read, {}) == config_hash(apart, {})
    apart.MODEL.RPN.BBOX_REG_WEIGHTS = [1.0, 2.0, 3.0, 4.5]
    assert config_hash(cfg, {}) != config_hash(apart, {})


def test_keys_that_explain_a_difference():
    """FLIPPED_IMAGES decides which files a step writes, so it is named, although not hashed by itself."""
    assert has_no_effect("SCHEDULE.STEP4.MAX_ITER") and has_no_effect("OUTPUT_DIR")
    assert not has_no_effect("SCHEDULE.PROPOSALS.FLIPPED_IMAGES") and not has_no_effect("SOLVER.BASE_LR")


def test_manifest_round_trip(tmp_path):
    assert Manifest.read(str(tmp_path)) is None
    manifest = Manifest.new(str(tmp_path), "mine", "four_step", 7, [{"name": "step1_rpn", "state": "pending"}])
    manifest.update_step(
        "step1_rpn",
        state="finished",
        outputs={
            "model": {"path": "a", "sha256": "ff"},
            "proposals": {"a": {"path": "a", "sha256": "ee"}},
            "flipped_proposals": {"a": {"path": "a", "sha256": "dd"}},
        },
    )
    again = Manifest.read(str(tmp_path))
    assert again.data == manifest.data and again.step("step1_rpn")["state"] == "finished"
    assert (again.output_hash("step1_rpn"), again.output_hash("step1_rpn", "a")) == ("ff", "ee")
    assert again.output_hash("step1_rpn", "a", flipped=True) == "dd"
    assert {"command", "versions", "machine", "seed", "schedule"} <= set(again.data)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 1, "steps": 3}', '{"version": 2, "steps": []}'])
def test_other_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest.json"):
        Manifest.read(str(tmp_path))


def test_json_is_strict_and_atomic(tmp_path):
    path = tmp_path / "a.json"
    write_json({"AP": float("nan"), "list": [1.5, (2, float("nan"))]}, str(path))
    assert json.loads(path.read_text()) == {"AP": None, "list": [1.5, [2, None]]}
    before = path.read_text()
    with pytest.raises(TypeError):
        write_json({"a": object()}, str(path))
    assert path.read_text() == before


@pytest.mark.parametrize("record", [{}, {"frcnn_alt": {}}, {"frcnn_alt": {"command": "no list"}}])
def test_weights_that_do_not_say_how_they_were_made(record, tmp_path):
    torch.save({"model": {"w": torch.zeros(1)}, **record}, tmp_path / "w.pth")
    assert command_of_weights(str(tmp_path / "w.pth")) is None
    assert command_of_weights("") is None and command_of_weights("vgg16.caffemodel") is None
