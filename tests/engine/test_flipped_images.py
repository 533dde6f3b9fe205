"""SCHEDULE.PROPOSALS.FLIPPED_IMAGES: the second proposal sets of a run are written, hashed, verified, resumed, used."""

import json
import os
import shutil

from frcnn_alt.checkpointing import hash_tensors
from frcnn_alt.engine import ConfigError, step_proposals, step_trainer
from frcnn_alt.engine.step import recomputes_flipped_images
from frcnn_alt.proposals import ProposalSet, ProposalSetError

import pytest
from miniature import final_hash, run, tiny_config, weights_of

TRAIN, TEST = "tiny_shapes_trainval", "tiny_shapes_test"


def config(shapes, output_dir, **values):
    cfg = tiny_config(shapes, output_dir, exact=True)
    cfg.merge_from_list([part for key, value in values.items() for part in (key.replace("__", "."), value)])
    return cfg


def mirrored(shapes, output_dir):
    return config(shapes, output_dir, SCHEDULE__PROPOSALS__FLIPPED_IMAGES="mirrored")


@pytest.fixture(scope="module")
def recomputed(shapes, tmp_path_factory):
    cfg = tiny_config(shapes, tmp_path_factory.mktemp("recomputed") / "run", exact=True)
    assert cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES == "recomputed"
    run(cfg)
    return cfg


@pytest.fixture
def copy(recomputed, tmp_path):
    """The finished run in a folder of its own, as if steps 2 to 4 had not begun."""
    cfg = recomputed.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    shutil.copytree(recomputed.OUTPUT_DIR, cfg.OUTPUT_DIR)
    manifest = read_manifest(cfg)
    for entry in manifest["steps"][1:]:
        entry["state"] = "pending"
        shutil.rmtree(os.path.join(cfg.OUTPUT_DIR, entry["name"]))
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json"), "w") as file:
        json.dump(manifest, file)
    return cfg


def read_manifest(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        return json.load(file)


def folder(cfg, step, name):
    return os.path.join(cfg.OUTPUT_DIR, step, "proposals", name)


@pytest.mark.parametrize("number, step", [(0, "step1_rpn"), (2, "step3_rpn")])
def test_second_sets_over_the_training_images_alone_are_in_the_manifest(recomputed, number, step):
    outputs = read_manifest(recomputed)["steps"][number]["outputs"]
    assert set(outputs["proposals"]) == {TRAIN, TEST}
    assert set(outputs["flipped_proposals"]) == {TRAIN}
    about = outputs["flipped_proposals"][TRAIN]
    flipped = ProposalSet(about["path"])
    flipped.verify()
    assert about == {"path": folder(recomputed, step, f"{TRAIN}.flipped"), "sha256": flipped.sha256, "images": 6}
    plain = ProposalSet(outputs["proposals"][TRAIN]["path"])
    assert flipped.image_ids == plain.image_ids and flipped.sha256 != plain.sha256
    assert flipped.metadata == {**plain.metadata, "flipped_images": True}


def test_each_detector_trains_on_both_sets_of_the_step_before_it(shapes, tmp_path, monkeypatch):
    opened = []
    stock = step_trainer.ProposalDatasetMapper

    def record(cfg, **arguments):
        opened.append([arguments[k][TRAIN].path for k in ("proposal_sets", "flipped_proposal_sets")])
        return stock(cfg, **arguments)

    monkeypatch.setattr(step_trainer, "ProposalDatasetMapper", record)
    cfg = tiny_config(shapes, tmp_path / "run", exact=True)
    run(cfg)
    names = (TRAIN, f"{TRAIN}.flipped")
    assert [[str(path) for path in pair] for pair in opened] == [
        [folder(cfg, step, name) for name in names] for step in ("step1_rpn", "step3_rpn")
    ]


def test_mirrored_runs_write_none_and_differ_from_step_2_on(shapes, recomputed, tmp_path):
    cfg = mirrored(shapes, tmp_path / "run")
    run(cfg)
    for step in ("step1_rpn", "step3_rpn"):
        assert sorted(os.listdir(os.path.join(cfg.OUTPUT_DIR, step, "proposals"))) == [TEST, TRAIN]
    assert "flipped_proposals" not in read_manifest(cfg)["steps"][0]["outputs"]
    same = [
        hash_tensors(weights_of(cfg.OUTPUT_DIR, s)) == hash_tensors(weights_of(recomputed.OUTPUT_DIR, s))
        for s in ("step1_rpn", "step2_fast_rcnn")
    ]
    assert same == [True, False]


@pytest.mark.parametrize("step", ["step2_fast_rcnn", "step4_fast_rcnn"])
def test_statistics_count_the_second_sets(recomputed, step):
    """Regions and their mirror images have a mean dx of exactly 0; those that a network found on either have not."""
    name = "roi_heads.box_predictor.box2box_transform.mean"
    assert (weights_of(recomputed.OUTPUT_DIR, step)[name][:, 0] != 0).any()


def test_runs_that_flip_nothing_write_none(shapes, tmp_path):
    cfg = config(shapes, tmp_path / "run", INPUT__RANDOM_FLIP="none")
    assert not recomputes_flipped_images(cfg)
    run(cfg)
    assert sorted(os.listdir(os.path.join(cfg.OUTPUT_DIR, "step1_rpn", "proposals"))) == [TEST, TRAIN]


def test_a_run_cut_between_the_two_sets(shapes, recomputed, tmp_path, monkeypatch):
    stock = step_proposals.compute_proposals

    def cut(*args, flipped, **kwargs):
        if flipped:
            raise KeyboardInterrupt
        return stock(*args, flipped=flipped, **kwargs)

    monkeypatch.setattr(step_proposals, "compute_proposals", cut)
    cfg = tiny_config(shapes, tmp_path / "run", exact=True)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    assert read_manifest(cfg)["steps"][0]["state"] == "running"
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(recomputed)


def test_a_resumed_run_verifies_and_uses_the_sets_that_are_there(copy, recomputed):
    run(copy, resume=True)
    assert final_hash(copy) == final_hash(recomputed)


@pytest.mark.parametrize("name", [TRAIN, f"{TRAIN}.flipped"])
def test_another_set_in_the_place_of_a_steps_is_refused(copy, name):
    here, other = (folder(copy, "step1_rpn", n) for n in (name, TEST))
    shutil.rmtree(here)
    shutil.copytree(other, here)
    with pytest.raises(ConfigError, match=f"{name} is not the proposal set that step1_rpn wrote"):
        run(copy, resume=True)


def test_a_second_set_that_is_gone_is_named(copy):
    shutil.rmtree(folder(copy, "step1_rpn", f"{TRAIN}.flipped"))
    with pytest.raises(ProposalSetError, match=r"no proposal set at .*trainval\.flipped"):
        run(copy, resume=True)


def test_resume_with_the_other_kind_is_refused_and_named(shapes, recomputed, tmp_path):
    changed = recomputed.clone()
    changed.defrost()
    changed.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = "mirrored"
    with pytest.raises(ConfigError, match=r"step1_rpn .*changed: SCHEDULE.PROPOSALS.FLIPPED_IMAGES\. "):
        run(changed, resume=True)
