"""--restart-from: some steps of a run made anew under another config, the others kept; and what is said and removed."""

import json
import os
from pathlib import Path

from frcnn_alt.checkpointing import hash_tensors
from frcnn_alt.engine import ConfigError, StepTrainer, default_argument_parser, main, run_command_line

import pytest
from miniature import STEPS, final_hash, moved_run, run, states, tiny_config, weights_of


@pytest.fixture
def finished(whole, tmp_path):
    """The config of a copy of a finished run, also as mine.yaml beside it."""
    cfg = whole.clone()
    cfg.OUTPUT_DIR = moved_run(whole, tmp_path / "run")
    return write(cfg, tmp_path)


def write(cfg, folder):
    data_sets = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()  # named by VOC_LAYOUT
    (folder / "mine.yaml").write_text(cfg.dump())
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = data_sets
    return cfg


def call(cfg, *words):
    path = os.path.join(os.path.dirname(cfg.OUTPUT_DIR), "mine.yaml")
    return main(default_argument_parser().parse_args(["--config-file", path, *words]))


def hashes(cfg, names=STEPS):
    return {name: hash_tensors(weights_of(cfg.OUTPUT_DIR, name)) for name in names}


def trained(monkeypatch):
    """Names of the steps that are trained from now on."""
    names, stock = [], StepTrainer.train

    def train(trainer):
        names.append(os.path.basename(trainer.cfg.OUTPUT_DIR))
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "train", train)
    return names


def tree(folder):
    """Content of all files, but for what every command writes."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name not in ("run.lock", "log.txt")]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("named", ["3", "step3_rpn"])
def test_steps_from_one_on_are_made_anew_as_in_a_run_of_the_new_config(named, finished, tmp_path, monkeypatch):
    before, words = hashes(finished), ("SCHEDULE.STEP3.BASE_LR", "0.0005")
    with pytest.raises(ConfigError, match="step3_rpn was made with another config; changed: SOLVER.BASE_LR."):
        call(finished, "--resume", *words)
    names = trained(monkeypatch)
    assert call(finished, "--restart-from", named, *words) == 0
    assert names == STEPS[2:]
    after = hashes(finished)
    assert [before[name] == after[name] for name in STEPS] == [True, True, False, False]
    other = finished.clone()
    other.OUTPUT_DIR, other.SCHEDULE.STEP3.BASE_LR = str(tmp_path / "fresh"), 0.0005
    run(other)
    assert final_hash(other) == final_hash(finished) and states(finished) == ["finished"] * 4
    names.clear()
    assert call(finished, "--resume", *words) == 0 and names == []  # it is that config's run now


@pytest.mark.parametrize(
    "words, number",
    [
        (("SOLVER.MOMENTUM", "0.5"), 1),
        (("SCHEDULE.STEP2.MAX_ITER", "3"), 2),
        (("SCHEDULE.STEP4.MAX_ITER", "3"), 4),
        (("SCHEDULE.STEP4_BOX_PREDICTOR", "new"), 4),
    ],
)
def test_the_message_offers_the_right_number(words, number, finished, monkeypatch, capsys):
    assert call(finished, "--dry-run", "--resume", *words) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("TO MEND")]
    assert line.endswith(
        f"choose another OUTPUT_DIR, or make this step and those after it anew: --restart-from {number}."
    )
    assert call(finished, "--dry-run", "--restart-from", str(number), *words) == 0
    if number > 1:
        assert call(finished, "--dry-run", "--restart-from", str(number + 1) if number < 4 else "step4_fast_rcnn") == 0
    if number < 4:
        assert call(finished, "--dry-run", "--restart-from", str(number + 1), *words) == 1
        assert f"--restart-from {number}." in capsys.readouterr().out


def test_a_dry_run_shows_what_would_be_made_anew_and_touches_nothing(finished, capsys):
    before = tree(finished.OUTPUT_DIR)
    assert call(finished, "--dry-run", "--restart-from", "3") == 0
    printed = capsys.readouterr().out
    cells = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")]
    assert [cell for cell in cells if cell.startswith("(")] == ["(finished)", "(finished)", "(anew)", "(anew)"]
    assert f"--restart-from 3 removes from {finished.OUTPUT_DIR} what step3_rpn and step4_fast_rcnn left" in printed
    assert tree(finished.OUTPUT_DIR) == before


@pytest.mark.parametrize(
    "words, message",
    [
        (("--restart-from", "5"), "it takes a step's number, from 1 to 4, or its name: step1_rpn, "),
        (("--restart-from", "0"), "from 1 to 4"),
        (("--restart-from", "3", "SOLVER.MOMENTUM", "0.5"), "step1_rpn was made with another config"),
        (("--restart-from", "3", "SCHEDULE.STEP4.MAX_ITER", "0"), "SCHEDULE.STEP4.MAX_ITER is 0"),
        (("--restart-from", "3", "--steps", "4"), "leaves out step3_rpn"),
        (("--restart-from", "3", "--overwrite"), "does not go together with --overwrite"),
        (("--restart-from", "3", "--eval-only"), "does not go together with --eval-only"),
        (("--restart-from", "3", "TRAINER", "SingleStepTrainer"), "TRAINER SingleStepTrainer has no steps"),
    ],
)
def test_what_cannot_be_restarted_is_refused_and_nothing_is_removed(words, message, finished, capsys):
    before = tree(finished.OUTPUT_DIR)
    path = os.path.join(os.path.dirname(finished.OUTPUT_DIR), "mine.yaml")
    assert run_command_line(main, default_argument_parser().parse_args(["--config-file", path, *words])) == 2
    assert message in capsys.readouterr().err
    assert tree(finished.OUTPUT_DIR) == before


def test_a_folder_without_a_run_and_a_step_before_that_is_not_finished(shapes, tmp_path, monkeypatch):
    cfg = write(tiny_config(shapes, tmp_path / "run", exact=True), tmp_path)
    with pytest.raises(ConfigError, match=f"--restart-from 2: {cfg.OUTPUT_DIR} holds no run"):
        call(cfg, "--restart-from", "2")
    assert call(cfg, "--overwrite", "--steps", "1") == 0
    message = "step2_fast_rcnn, before it, is not finished. --resume alone goes on with it; --restart-from 2 makes"
    with pytest.raises(ConfigError, match=message):
        call(cfg, "--restart-from", "3")
    assert call(cfg, "--restart-from", "2", "--steps", "2") == 0
    assert states(cfg) == ["finished", "finished", "pending", "pending"]


def test_what_was_left_is_removed_and_a_cut_restart_is_gone_on_with(finished, monkeypatch):
    """The manifest forgets first: whatever is left behind is not taken for finished."""
    output, stock = Path(finished.OUTPUT_DIR), StepTrainer.run_step
    (output / "step3_rpn" / "notes.txt").write_text("a person's own")
    words = ("SCHEDULE.STEP3.BASE_LR", "0.0005")

    def cut(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(StepTrainer, "run_step", cut)
    with pytest.raises(KeyboardInterrupt):
        call(finished, "--restart-from", "3", *words)
    assert states(finished) == ["finished", "finished", "running", "pending"]
    assert "assembled" not in json.loads((output / "manifest.json").read_text())
    left = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert (
        not {"model_final.pth", "results.json", "step4_fast_rcnn/model_final.pth", "step3_rpn/model_final.pth"} & left
    )
    assert not [name for name in left if name.startswith("step3_rpn/proposals")] and "step3_rpn/notes.txt" in left
    assert (output / "step2_fast_rcnn" / "model_final.pth").exists()
    monkeypatch.setattr(StepTrainer, "run_step", stock)
    names = trained(monkeypatch)
    assert call(finished, "--resume", *words) == 0 and names == STEPS[2:]


def test_a_run_is_restarted_from_its_beginning_with_another_seed(finished, whole):
    assert call(finished, "--restart-from", "1", "SEED", "8") == 0
    assert json.loads(Path(finished.OUTPUT_DIR, "manifest.json").read_text())["seed"] == 8
    assert final_hash(finished) != final_hash(whole)


def test_the_steps_of_a_second_round(shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run", exact=True)
    cfg.SCHEDULE.ROUNDS = 2
    cfg = write(cfg, tmp_path)
    assert call(cfg) == 0
    names = trained(monkeypatch)
    assert call(cfg, "--restart-from", "5") == 0
    assert names == ["step5_rpn", "step6_fast_rcnn"]


def test_steps_that_were_given_stay_given(whole, finished, tmp_path, monkeypatch):
    other = finished.clone()
    other.OUTPUT_DIR = str(tmp_path / "rest")
    write(other, tmp_path)
    assert call(other, "--steps", "3-4", "--from-run", whole.OUTPUT_DIR) == 0
    names = trained(monkeypatch)
    assert call(other, "--restart-from", "4", "SCHEDULE.STEP4.BASE_LR", "0.0005") == 0
    assert names == ["step4_fast_rcnn"] and states(other) == ["pending", "given", "finished", "finished"]
    names.clear()
    assert call(other, "--restart-from", "1", "SCHEDULE.STEP4.BASE_LR", "0.0005") == 0
    assert names == STEPS[2:] and states(other) == ["pending", "given", "finished", "finished"]
