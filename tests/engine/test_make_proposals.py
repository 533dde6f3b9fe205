"""Proposal sets for the data sets of a config, from all sources; each of them trains and tests a detector."""

import json
import os
import pickle
import shlex

from frcnn_alt import get_cfg
from frcnn_alt.data import DatasetError, load_dataset_dicts, register_datasets
from frcnn_alt.engine import ConfigError, make_proposals
from frcnn_alt.engine.make_proposals import import_set, make_sets_by_rpn, make_sets_from_pixels
from frcnn_alt.engine.stored_proposals import keys_to_set
from frcnn_alt.proposals import EdgeBoxes, ProposalSet, ProposalSetError, SelectiveSearch, import_proposals

import numpy as np
import pytest
from miniature import STEPS, run, tiny_config, write_initial_weights

SEARCH = SelectiveSearch(boxes=100, smallest_side=8)


@pytest.fixture
def contrib():
    pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")


def final_config(cfg):
    """The config of a finished run's network."""
    final = get_cfg()
    final.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    register_datasets(final)
    return final


def splits(cfg):
    return [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]


@pytest.mark.parametrize("method", [SEARCH, EdgeBoxes(boxes=100)], ids=["selective_search", "edge_boxes"])
def test_a_detector_trains_and_is_tested_on_boxes_from_pixels(contrib, shapes, tmp_path, method):
    cfg = tiny_config(shapes, tmp_path / "run", weights=str(tmp_path / "initial.pth"))
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    sets = make_sets_from_pixels(cfg, method, str(tmp_path / "sets"), processes=1)
    assert list(sets) == splits(cfg) and [len(proposals) for proposals in sets.values()] == [6, 8]
    words = keys_to_set(cfg, str(tmp_path / "sets"))
    cfg.merge_from_list(["SCHEDULE.NAME", "fast_rcnn", *shlex.split(" ".join(words))])
    assert len(cfg.DATASETS.PROPOSAL_FILES_TRAIN) == len(cfg.DATASETS.PROPOSAL_FILES_TEST) == 1
    trained = run(cfg)
    assert "AP50" in trained["bbox"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [step["state"] for step in manifest["steps"]] == ["finished"]


def test_one_split_and_what_is_there_already(contrib, shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run")
    folder = str(tmp_path / "sets")
    assert list(make_sets_from_pixels(cfg, SEARCH, folder, split="test", processes=1)) == list(cfg.DATASETS.TEST)
    (word,) = keys_to_set(cfg, folder)
    assert word.startswith("DATASETS.PROPOSAL_FILES_TEST ")
    for thing in ("check_datasets", "compute_proposals"):
        monkeypatch.setattr(make_proposals, thing, None)  # a finished set needs neither
    again = make_sets_from_pixels(cfg, SEARCH, folder, split="test", processes=1)
    assert again[cfg.DATASETS.TEST[0]].metadata["method"] == "selective_search"


def test_malformed_images_are_listed_before_any_is_searched(voc_folder, own_catalogs, tmp_path):
    root = voc_folder({"a": [("x", 1, 1, 9, 9)], "b": [("x", 1, 1, 9, 9)], "c": [("x", 1, 1, 99, 9)]})
    (root / "JPEGImages" / "b.jpg").write_bytes(b"no image")
    cfg = tiny_config(str(root), tmp_path / "run")
    with pytest.raises(DatasetError, match=r"box outside .*c.xml(.*\n)*.*unreadable image.*b.jpg") as caught:
        make_sets_from_pixels(cfg, SEARCH, str(tmp_path / "sets"))
    assert str(tmp_path / "sets" / "malformed.txt") in str(caught.value)
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["malformed.txt"]


def test_malformed_images_are_listed_also_before_a_set_is_made_anew(shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run")
    arguments = (cfg, SEARCH, str(tmp_path / "sets"))
    looked_through = []
    monkeypatch.setattr(make_proposals, "check_datasets", lambda cfg, names: looked_through.append(names))
    for overwrite, times in ((False, 1), (False, 1), (True, 2)):
        make_sets_from_pixels(*arguments, split="test", processes=1, overwrite=overwrite)
        assert len(looked_through) == times


def test_a_network_that_learns_no_proposals(whole, tmp_path):
    cfg = final_config(whole)
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "DenseWindows"
    with pytest.raises(ConfigError, match="'DenseWindows' is one that learns nothing"):
        make_sets_by_rpn(cfg, str(tmp_path))


def test_impossible_requests(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run")
    with pytest.raises(ConfigError, match="--processes 0"):
        make_sets_from_pixels(cfg, SEARCH, str(tmp_path), processes=0)
    with pytest.raises(ConfigError, match="--split all: it is one of train, test, both"):
        make_sets_from_pixels(cfg, SEARCH, str(tmp_path), split="all")
    cfg.DATASETS.TEST = ()
    with pytest.raises(ConfigError, match="DATASETS.TEST of the config are empty"):
        make_sets_from_pixels(cfg, SEARCH, str(tmp_path), split="test")
    with pytest.raises(ConfigError, match="MODEL.WEIGHTS '' does not exist"):
        make_sets_by_rpn(cfg, str(tmp_path))
    cfg.MODEL.WEIGHTS, cfg.MODEL.LOAD_PROPOSALS = os.path.join(shapes, "shapes.json"), True
    with pytest.raises(ConfigError, match="The network of this config has no RPN"):
        make_sets_by_rpn(cfg, str(tmp_path))
    with pytest.raises(ConfigError, match=f"--dataset nobody: .* of the config are {cfg.DATASETS.TRAIN[0]}"):
        import_set(cfg, "a.pkl", "detectron2", "nobody", str(tmp_path))


def test_the_rpn_of_the_four_steps_gives_what_step_3_gave(whole, tmp_path, monkeypatch):
    """Its RPN on step 2's convolutions; in parts, and the second time nothing is computed."""
    monkeypatch.setattr(make_proposals, "IMAGES_PER_PART", 3)
    cfg = final_config(whole)
    for key in ("PRE_NMS_TOPK", "POST_NMS_TOPK"):
        cfg.MODEL.RPN[f"{key}_TEST"] = whole.SCHEDULE.PROPOSALS[key]
    sets = make_sets_by_rpn(cfg, str(tmp_path))
    assert list(sets) == splits(cfg)
    for name, proposals in sets.items():
        of_step = ProposalSet(os.path.join(whole.OUTPUT_DIR, STEPS[2], "proposals", name))
        assert proposals.sha256 == of_step.sha256 and proposals.num_boxes > 0
        assert proposals.metadata["post_nms_topk"] == whole.SCHEDULE.PROPOSALS.POST_NMS_TOPK
    assert sorted(os.listdir(tmp_path)) == sorted(sets)
    monkeypatch.setattr(make_proposals, "build_model", None)
    assert make_sets_by_rpn(cfg, str(tmp_path)).keys() == sets.keys()
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 7, 0.5  # the latter is behind the RPN
    with pytest.raises(ProposalSetError, match=r"made with config.MODEL.RPN.POST_NMS_TOPK_TEST 2000 and not 7\."):
        make_sets_by_rpn(cfg, str(tmp_path))


def test_a_cut_rpn_goes_on(whole, tmp_path, monkeypatch):
    cfg = final_config(whole)
    expected = make_sets_by_rpn(cfg, str(tmp_path / "whole"), split="test")
    monkeypatch.setattr(make_proposals, "IMAGES_PER_PART", 3)
    real, shown = make_proposals.compute_proposals, []

    def cut(*args, **keys):
        if len(shown) == 2:
            raise KeyboardInterrupt
        shown.append([image["image_id"] for image in args[4]])
        return real(*args, **keys)

    monkeypatch.setattr(make_proposals, "compute_proposals", cut)
    with pytest.raises(KeyboardInterrupt):
        make_sets_by_rpn(cfg, str(tmp_path / "cut"), split="test")
    before = [*shown]
    shown.clear()
    found = make_sets_by_rpn(cfg, str(tmp_path / "cut"), split="test")
    (name,) = expected
    assert [image for part in before + shown for image in part] == expected[name].image_ids
    assert found[name].sha256 == expected[name].sha256


@pytest.mark.parametrize("schedule", ["rpn", "unshared", "joint"])
def test_networks_of_other_schedules(shapes, tmp_path, schedule):
    cfg = tiny_config(shapes, tmp_path / "run", weights=str(tmp_path / "initial.pth"))
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    cfg.SCHEDULE.NAME = schedule
    if schedule == "joint":
        cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS = "fixed"
        cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
    run(cfg)
    final = final_config(cfg)
    for key in ("PRE_NMS_TOPK", "POST_NMS_TOPK"):
        final.MODEL.RPN[f"{key}_TEST"] = cfg.SCHEDULE.PROPOSALS[key]
    (proposals,) = make_sets_by_rpn(final, str(tmp_path / "sets"), split="test").values()
    assert len(proposals) == 8 and proposals.num_boxes > 8
    if schedule != "joint":
        step1 = os.path.join(cfg.OUTPUT_DIR, "step1_rpn", "proposals", cfg.DATASETS.TEST[0])
        assert proposals.sha256 == ProposalSet(step1).sha256


def test_an_import_and_the_same_again(shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run")
    (name,) = cfg.DATASETS.TEST
    ids = [image["image_id"] for image in load_dataset_dicts(name)]
    file = tmp_path / "boxes.pkl"
    data = {
        "ids": ids,
        "boxes": [np.float32([[1, 2, 30, 40]])] * len(ids),
        "objectness_logits": [np.ones(1)] * len(ids),
    }
    file.write_bytes(pickle.dumps(data))
    found = import_set(cfg, str(file), "detectron2", name, str(tmp_path / "sets"))[name]
    alone = import_proposals(file, "detectron2", name, tmp_path / "alone")
    assert found.sha256 == alone.sha256 and found.metadata["format"] == "detectron2"
    monkeypatch.setattr(make_proposals, "import_proposals", None)
    import_set(cfg, str(file), "detectron2", name, str(tmp_path / "sets"))
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ProposalSetError, match="made with sha256 .*--overwrite"):
        import_set(cfg, str(file), "detectron2", name, str(tmp_path / "sets"))
