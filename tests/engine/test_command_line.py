"""The front door as a person uses it: train, resume, overwrite, evaluate; mistakes end in one line."""

import json
import os
import shutil
import subprocess
import sys

from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import ConfigError, default_argument_parser, main, run_command_line

import numpy as np
import pytest
import torch

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front_door")
    make_shapes(str(folder / "shapes"), seed=2, num_trainval=4, num_test=2, size=(112, 84))
    base = os.path.join(ROOT, "configs", "Base-RCNN-ZF.yaml")
    (folder / "mine.yaml").write_text(
        f"""_BASE_: "{base}"
MODEL:
  BACKBONE: {{WIDTH_MULTIPLIER: 0.06}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
  ANCHOR_GENERATOR: {{SIZES: [[16, 32, 64]]}}
INPUT: {{MIN_SIZE_TRAIN: [84], MIN_SIZE_TEST: 84}}
DATASETS: {{VOC_LAYOUT: {{ROOT: "{folder / "shapes"}"}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SCHEDULE:
  STEP1: {{MAX_ITER: 2, STEPS: [1]}}
  STEP2: {{MAX_ITER: 2, STEPS: [1]}}
  STEP3: {{MAX_ITER: 2, STEPS: [1]}}
  STEP4: {{MAX_ITER: 2, STEPS: [1]}}
OUTPUT_DIR: "{folder / "run"}"
"""
    )
    return folder


def _run(folder, *words):
    return default_argument_parser().parse_args(["--config-file", str(folder / "mine.yaml"), *words])


def test_train_then_evaluate_then_refuse_then_resume(folder):
    after = []
    assert main(_run(folder), after_training=after.append) == 0
    assert after == [str(folder / "run")]
    results = json.loads((folder / "run" / "results.json").read_text())["bbox"]

    assert main(_run(folder, "--eval-only")) == 0  # finds the run's own network
    config = str(folder / "run" / "config.yaml")
    assert main(default_argument_parser().parse_args(["--config-file", config, "--eval-only"])) == 0
    # Other tests' folders may be called "shapes" too; the data set's name then has a suffix.
    again, first = (list((folder / "run" / at).glob("inference/*/detections.jsonl")) for at in ("eval_only", "."))
    assert len(again) == len(first) == 1 and again[0].read_text() == first[0].read_text()

    with pytest.raises(ConfigError, match="--resume"):
        main(_run(folder))
    assert main(_run(folder, "--resume")) == 0
    assert json.loads((folder / "run" / "results.json").read_text())["bbox"] == results
    assert main(_run(folder, "--overwrite", "SCHEDULE.STEP1.MAX_ITER", "1")) == 0


def test_overwriting_keeps_the_old_run_if_the_new_one_cannot_start(folder):
    output = folder / "to_overwrite"
    main(_run(folder, "OUTPUT_DIR", str(output)))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.[pjy]*")}
    for words, message in (
        (["SCHEDULE.STEP4.MAX_ITER", "0"], "SCHEDULE.STEP4.MAX_ITER is 0"),
        (["--steps", "2"], "leaves out step1_rpn"),
        (["--from-run", str(output), "--steps", "3-4"], "SCHEDULE.GIVEN_RUN .* is OUTPUT_DIR"),
        (["MODEL.WEIGHTS", str(output / "model_final.pth")], "MODEL.WEIGHTS .* is where this run writes itself"),
        (
            ["MODEL.WEIGHTS", str(output / "step2_fast_rcnn" / "model_final.pth")],
            "MODEL.WEIGHTS .* where this run writes",
        ),
        (
            ["--steps", "3-4", "SCHEDULE.STEP2.GIVEN", str(output / "model_final.pth")],
            "SCHEDULE.STEP2.GIVEN .* where this run writes",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            main(_run(folder, "--overwrite", *words, "OUTPUT_DIR", str(output)))
        assert {path: path.stat().st_mtime_ns for path in output.rglob("*.[pjy]*")} == before
    elsewhere = shutil.copy(output / "step2_fast_rcnn" / "model_final.pth", folder / "elsewhere.pth")
    words = ["--steps", "3-4", "OUTPUT_DIR", str(output), "SCHEDULE.STEP2.GIVEN", str(elsewhere)]
    assert main(_run(folder, "--overwrite", *words)) == 0
    # What the old run trained in steps 1 and 2 does not pass for the new one's.
    assert {path.parent.name for path in output.glob("*/metrics.json")} == {"step3_rpn", "step4_fast_rcnn"}
    assert not (output / "step1_rpn" / "model_final.pth").exists()


@pytest.mark.parametrize("name, results", [("unshared", "bbox"), ("rpn", "box_proposals")])
def test_a_training_config_evaluates_the_network_that_its_schedule_ends_with(folder, name, results):
    overlay = ["--overlay", os.path.join(ROOT, "configs", "overlays", f"{name}.yaml")]
    words = [*overlay, "OUTPUT_DIR", str(folder / name)]
    assert main(_run(folder, *words)) == 0
    assert main(_run(folder, "--eval-only", *words)) == 0
    files = [folder / name / at / "results.json" for at in (".", "eval_only")]
    trained, evaluated = (json.loads(file.read_text())[results] for file in files)
    assert trained == evaluated and trained


def test_evaluating_lists_what_it_does_not_use(folder, capfd):
    output = folder / "with_more"
    assert main(_run(folder, "OUTPUT_DIR", str(output))) == 0
    weights = output / "model_final.pth"
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["model"]["roi_heads.mask_head.weight"] = torch.zeros(1)
    torch.save(checkpoint, weights)
    capfd.readouterr()
    assert main(_run(folder, "--eval-only", "MODEL.WEIGHTS", str(weights))) == 0
    assert f"{weights}: not used are roi_heads.mask_head.weight" in "".join(capfd.readouterr())


def test_single_step_trainer_trains_everything_together(folder):
    words = ["TRAINER", "SingleStepTrainer", "OUTPUT_DIR", str(folder / "joint"), "SOLVER.MAX_ITER", "2"]
    words += ["SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "(1,)", "MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS", "fixed"]
    assert main(_run(folder, *words, "MODEL.RPN.BBOX_REG_STATISTICS", "none")) == 0
    with open(folder / "joint" / "metrics.json") as file:
        last = json.loads(file.read().splitlines()[-1])
    assert {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"} <= set(last)


@pytest.mark.parametrize(
    "words, message",
    [
        (["SOLVER.BASE_LRR", "1"], "Did you mean SOLVER.BASE_LR"),
        (["DATASETS.VOC_LAYOUT.ROOT", "/nowhere"], "DATASETS.VOC_LAYOUT.ROOT"),
        (["OUTPUT_DIR", "nowhere", "--eval-only"], "pairs"),
    ],
)
def test_mistakes_end_in_one_message_and_status_2(folder, words, message, capsys):
    assert run_command_line(main, _run(folder, *words)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and "Traceback" not in printed


def test_evaluating_without_a_network_is_one_message(folder, capsys):
    assert run_command_line(main, _run(folder, "--eval-only", "OUTPUT_DIR", "/nowhere/at/all")) == 2
    assert "needs a trained network" in capsys.readouterr().err


def test_a_run_that_cannot_start_says_why_and_leaves_none(folder, tmp_path, capsys):
    out = tmp_path / "new"
    assert run_command_line(main, _run(folder, "OUTPUT_DIR", str(out), "MODEL.WEIGHTS", "nowhere.pth")) == 2
    assert "MODEL.WEIGHTS" in capsys.readouterr().err
    assert not (out / "manifest.json").exists()


def test_the_tool_itself_starts(folder):
    command = [sys.executable, os.path.join(ROOT, "tools", "train_net.py"), "--config-file", str(folder / "mine.yaml")]
    paths = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])  # a detectron2 chosen by it stays the chosen one
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "step4_fast_rcnn" in done.stdout


def test_a_refused_resume_leaves_the_finished_networks_config_alone(folder):
    config = folder / "kept" / "config.yaml"
    assert main(_run(folder, "OUTPUT_DIR", str(folder / "kept"))) == 0
    before = config.read_text()
    assert "model_final.pth" in before
    with pytest.raises(ConfigError, match="SOLVER.MOMENTUM"):
        main(_run(folder, "--resume", "OUTPUT_DIR", str(folder / "kept"), "SOLVER.MOMENTUM", "0.5"))
    assert config.read_text() == before


def test_overwriting_removes_what_would_pass_for_the_new_runs_results(folder, monkeypatch):
    out = folder / "over"
    assert main(_run(folder, "OUTPUT_DIR", str(out))) == 0

    def cut(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr("frcnn_alt.engine.trainer.AlternatingTrainer.train", cut)
    assert run_command_line(main, _run(folder, "--overwrite", "OUTPUT_DIR", str(out))) == 130
    left = {path.name for path in out.iterdir()}
    assert not left & {"manifest.json", "model_final.pth", "results.json", "inference"}


def test_a_moved_run_is_evaluated_where_it_is(folder, monkeypatch, tmp_path):
    """With the mean image that lies beside its network; the one that it was trained with may be gone."""
    np.save(folder / "mean.npy", np.full((3, 4, 3), 100.0, np.float32))
    words = ["MODEL.PIXEL_MEAN_IMAGE", str(folder / "mean.npy")]
    assert main(_run(folder, "OUTPUT_DIR", str(folder / "there"), *words)) == 0
    (folder / "mean.npy").unlink()
    (folder / "there").rename(folder / "moved")
    monkeypatch.chdir(tmp_path)
    moved = default_argument_parser().parse_args(
        ["--config-file", str(folder / "moved" / "config.yaml"), "--eval-only"]
    )
    assert main(moved) == 0
    with open(folder / "moved" / "results.json") as a, open(folder / "moved" / "eval_only" / "results.json") as b:
        assert json.load(a)["bbox"] == json.load(b)["bbox"]


def test_evaluating_with_a_config_that_does_not_fit_is_an_error(folder, capsys):
    weights = str(folder / "run" / "model_final.pth")
    words = ["--eval-only", "MODEL.WEIGHTS", weights, "MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.1"]
    assert run_command_line(main, _run(folder, *words)) == 2
    assert "has shape" in capsys.readouterr().err


def test_anchors_that_never_fit_are_an_error_and_not_a_silent_zero(folder, capsys):
    words = ["OUTPUT_DIR", str(folder / "large"), "MODEL.ANCHOR_GENERATOR.SIZES", "[[512]]"]
    assert run_command_line(main, _run(folder, *words)) == 2
    assert "MODEL.ANCHOR_GENERATOR.SIZES" in capsys.readouterr().err


def test_initial_weights_in_place_of_the_trained_network_are_explained(folder, tmp_path, capsys):
    """The training command with --eval-only behind it, MODEL.WEIGHTS and all."""
    torch.save({"model": {"backbone.conv1.bias": torch.zeros(6)}}, tmp_path / "initial.pth")
    words = ["--eval-only", "MODEL.WEIGHTS", str(tmp_path / "initial.pth"), "OUTPUT_DIR", str(tmp_path / "run")]
    (tmp_path / "run").mkdir()
    for name, told in (("manifest.json", "is not finished: --resume"), ("model_final.pth", "leave MODEL.WEIGHTS out")):
        (tmp_path / "run" / name).write_text("")
        assert run_command_line(main, _run(folder, *words)) == 2
        printed = capsys.readouterr().err
        assert "initial.pth is no network of this config" in printed and told in printed


def test_a_dry_run_tells_of_a_run_in_the_folder_and_of_a_file(folder, tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("{}")
    words = ["OUTPUT_DIR", str(tmp_path)]
    assert main(_run(folder, "--dry-run", *words)) == 0
    assert f"note: {tmp_path} holds a run already: --resume goes on" in capsys.readouterr().out
    assert main(_run(folder, "--dry-run", "--overwrite", *words)) == 0
    assert "holds a run already" not in capsys.readouterr().out
    words = ["--dry-run", "OUTPUT_DIR", str(tmp_path / "manifest.json")]
    assert run_command_line(main, _run(folder, *words)) == 2
    assert "manifest.json is a file; name a folder" in capsys.readouterr().err


def test_solver_values_that_no_step_has_are_told(folder, capsys):
    words = ["SOLVER.MAX_ITER", "7", "SOLVER.BASE_LR", "0.5"]
    assert main(_run(folder, "--dry-run", "OUTPUT_DIR", str(folder / "new"), *words)) == 0
    told = (
        "SOLVER.MAX_ITER 7, SOLVER.BASE_LR 0.5: without effect, every step has its own, such as SCHEDULE.STEP1.MAX_ITER"
    )
    assert told in capsys.readouterr().out
    words += ["SCHEDULE.SOLVER_OF_STEPS", "SOLVER", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "(5,)"]
    assert main(_run(folder, "--dry-run", "OUTPUT_DIR", str(folder / "new"), *words)) == 0
    printed = capsys.readouterr().out
    assert "without effect" not in printed and printed.count("7 x 2") == 4
