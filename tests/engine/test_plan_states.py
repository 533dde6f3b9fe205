"""What --dry-run --resume tells of a run that is there already, what the manifest tells of its config, and features."""

import json
import os
import shutil

from frcnn_alt.engine import AlternatingTrainer, ConfigError, check_config, default_argument_parser, main

import pytest
from miniature import CONFIGS, run_until, tiny_config


def states(text):
    """Second line of each row's first cell in the plan's table."""
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return [cell.strip("()") for cell in cells if cell.startswith("(")]


@pytest.fixture(scope="module")
def cut_once(shapes, tmp_path_factory):
    """A run with steps 1 and 2 finished, step 3 begun."""
    cfg = tiny_config(shapes, tmp_path_factory.mktemp("cut") / "run")
    run_until(cfg, "step3_rpn", 0)
    return cfg


@pytest.fixture
def cut_run(cut_once, tmp_path):
    """(yaml file, folder) of a copy of it."""
    cfg, path = cut_once.clone(), tmp_path / "mine.yaml"
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    shutil.copytree(cut_once.OUTPUT_DIR, cfg.OUTPUT_DIR)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()  # named by VOC_LAYOUT
    path.write_text(cfg.dump())
    return str(path), cfg.OUTPUT_DIR


def dry_run(path, *words):
    return main(default_argument_parser().parse_args(["--config-file", path, "--dry-run", *words]))


def test_plan_of_a_resumed_run_says_how_far_each_step_is(cut_run, capsys):
    path, folder = cut_run
    with open(os.path.join(folder, "manifest.json")) as file:
        before = file.read()
    assert dry_run(path, "--resume") == 0
    assert states(capsys.readouterr().out) == ["finished", "finished", "running", "pending"]
    assert dry_run(path) == 0
    assert states(capsys.readouterr().out) == []  # a new run has nothing to tell
    with open(os.path.join(folder, "manifest.json")) as file:
        assert file.read() == before


def to_mend(text):
    return [line for line in text.splitlines() if line.startswith("TO MEND: ")]


@pytest.mark.parametrize(
    "words, step, keys",
    [
        (["SOLVER.MOMENTUM", "0.5", "SOLVER.GAMMA", "0.2"], "step1_rpn", "SOLVER.MOMENTUM, SOLVER.GAMMA"),
        (["SCHEDULE.STEP2.MAX_ITER", "7"], "step2_fast_rcnn", "SOLVER.MAX_ITER"),
        (["SCHEDULE.STEP3.BASE_LR", "0.5"], "step3_rpn", "SOLVER.BASE_LR"),  # begun, not finished
        (["SCHEDULE.PROPOSALS.FLIPPED_IMAGES", "mirrored"], "step1_rpn", "SCHEDULE.PROPOSALS.FLIPPED_IMAGES"),
        (["DATASETS.MALFORMED", "leave_out"], "step1_rpn", "DATASETS.MALFORMED"),
    ],
)
def test_plan_of_a_resume_names_the_step_that_it_would_be_refused_at_and_the_keys(words, step, keys, cut_run, capsys):
    path, folder = cut_run
    assert dry_run(path, "--resume", *words) == 1
    printed = capsys.readouterr().out
    assert states(printed) == ["finished", "finished", "running", "pending"]
    (line,) = to_mend(printed)
    assert f"{os.path.join(folder, step)} was made with another config; changed: {keys}. " in line
    with pytest.raises(ConfigError) as error:  # and it is what a run says
        main(default_argument_parser().parse_args(["--config-file", path, "--resume", *words]))
    assert line in str(error.value)
    assert dry_run(path, *words) == 0  # a new run may have any


@pytest.mark.parametrize(
    "words", [["SCHEDULE.STEP4.MAX_ITER", "9"], ["DATALOADER.NUM_WORKERS", "1", "SOLVER.CHECKPOINT_PERIOD", "9"]]
)
def test_what_a_step_has_not_begun_with_may_change(words, cut_run, capsys):
    assert dry_run(cut_run[0], "--resume", *words) == 0
    assert to_mend(capsys.readouterr().out) == []


def test_plan_of_a_resume_finds_other_data(cut_run, capsys, monkeypatch):
    monkeypatch.setattr("frcnn_alt.engine.trainer.hash_dicts", lambda dicts: "other boxes")
    assert dry_run(cut_run[0], "--resume") == 1
    (line,) = to_mend(capsys.readouterr().out)
    assert "step1_rpn was made with another config; changed: the weights or the data that it started from" in line


@pytest.mark.parametrize("flipped_images", ["recomputed", "mirrored"])
def test_plan_names_the_second_sets_over_flipped_images(flipped_images, shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = flipped_images
    plan = AlternatingTrainer(cfg).plan()
    (train,), (test,) = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    rpn = [train, test] + ([f"{train}, flipped"] if flipped_images == "recomputed" else [])
    assert [entry["proposals_out"] for entry in plan.steps] == [rpn, [], rpn, []]
    assert (f"out: {train}, flipped" in str(plan)) == (flipped_images == "recomputed")


def test_plan_of_a_resume_finds_a_folder_of_other_steps_or_a_damaged_manifest(cut_run, capsys):
    path, folder = cut_run
    manifest = os.path.join(folder, "manifest.json")
    with open(manifest) as file:
        data = json.load(file)
    data["steps"] = data["steps"][:2]
    with open(manifest, "w") as file:
        json.dump(data, file)
    assert dry_run(path, "--resume") == 1
    assert "holds a run of other steps: step1_rpn, step2_fast_rcnn" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds a run of other steps"):
        main(default_argument_parser().parse_args(["--config-file", path, "--resume"]))
    with open(manifest, "w") as file:
        file.write("{")
    assert dry_run(path, "--resume") == 1
    assert "manifest.json is not a manifest" in capsys.readouterr().out


def test_resume_without_a_run_plans_a_new_one(shapes, tmp_path, capsys):
    words = ["--resume", "DATASETS.VOC_LAYOUT.ROOT", shapes, "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tmp_path)]
    assert dry_run(os.path.join(CONFIGS, "zf_4step.yaml"), *words) == 0
    assert states(capsys.readouterr().out) == []


def test_manifest_names_the_yaml_files_of_the_run(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "run")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()
    mine, overlay = tmp_path / "mine.yaml", tmp_path / "more.yaml"
    mine.write_text(cfg.dump())
    overlay.write_text("SCHEDULE: {STEP1: {MAX_ITER: 1}}\n")
    words = ["--config-file", str(mine), "--overlay", str(overlay)]
    assert main(default_argument_parser().parse_args(words)) == 0
    with open(tmp_path / "run" / "manifest.json") as file:
        assert json.load(file)["config_file"] == f"{mine} + {overlay}"


@pytest.mark.parametrize("key", ["MODEL.RPN.IN_FEATURES", "MODEL.ROI_HEADS.IN_FEATURES"])
def test_features_that_the_backbone_lacks_are_named_with_those_it_has(key, shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path, "VGG16")
    assert check_config(cfg) == []
    cfg.merge_from_list([key, ["res4"]])
    assert check_config(cfg) == [f"{key} names res4, but build_vgg16_backbone gives conv5_3: set {key} to that."]


def test_features_that_a_network_does_not_read_do_not_matter(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.IN_FEATURES = "FasterRCNNProposalNetwork", ["res4"]
    assert check_config(cfg) == []
    cfg = tiny_config(shapes, tmp_path)
    cfg.TRAINER, cfg.MODEL.LOAD_PROPOSALS, cfg.MODEL.RPN.IN_FEATURES = "SingleStepTrainer", True, ["res4"]
    assert check_config(cfg) == []
