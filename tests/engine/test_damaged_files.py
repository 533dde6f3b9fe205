"""A file of a run that is not as it was written is named, and made anew or refused; never used."""

import os
from pathlib import Path

from frcnn_alt.checkpointing import CheckpointError
from frcnn_alt.engine import AlternatingTrainer, ConfigError, StepTrainer, default_argument_parser, main
from frcnn_alt.engine.manifest import PENDING, Manifest
from frcnn_alt.engine.pretrain import pretrain, working_folder
from frcnn_alt.proposals import ProposalSetError

import pytest
from miniature import final_hash, moved_run, problems_of, run, tiny_config


def flip_a_bit(path):
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)


@pytest.fixture
def copied(whole, tmp_path):
    """The config of a copy of the finished run."""
    cfg = whole.clone()
    cfg.OUTPUT_DIR = moved_run(whole, tmp_path / "run")
    return cfg


def cut(trainer):
    raise KeyboardInterrupt


def test_a_damaged_checkpoint_is_not_resumed(whole, tmp_path, monkeypatch, caplog):
    """Step 2 begins anew, the others stay, and the run ends with the same weights."""
    cfg = whole.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    stock = StepTrainer.run_step

    def run_step(trainer):
        cut(trainer) if trainer.cfg.OUTPUT_DIR.endswith("step2_fast_rcnn") and trainer.iter == 3 else stock(trainer)

    monkeypatch.setattr(StepTrainer, "run_step", run_step)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    (checkpoint,) = (tmp_path / "run" / "step2_fast_rcnn").glob("model_*.pth")
    flip_a_bit(checkpoint)
    done = []
    monkeypatch.setattr(StepTrainer, "run_step", lambda trainer: (done.append(trainer.iter), stock(trainer)))
    run(cfg, resume=True)
    assert f"{checkpoint} is damaged" in caplog.text and done == 3 * [0, 1, 2, 3]
    assert final_hash(cfg) == final_hash(whole) and not checkpoint.exists()


def test_a_damaged_network_of_a_finished_step_is_refused_before_anything_starts(copied):
    weights = os.path.join(copied.OUTPUT_DIR, "step2_fast_rcnn", "model_final.pth")
    flip_a_bit(weights)
    (problem,) = problems_of(copied)
    assert f"{weights} is not the file that step2_fast_rcnn wrote" in problem and "--restart-from 2" in problem


@pytest.mark.parametrize("kind", ["boxes", "scores"])
def test_damaged_proposals_are_refused_before_a_step_trains_on_them(kind, copied, monkeypatch):
    folder = Path(copied.OUTPUT_DIR, "step1_rpn", "proposals")
    (path,) = folder.glob(f"{copied.DATASETS.TRAIN[0]}/{kind}-*")
    flip_a_bit(path)
    assert problems_of(copied) == []  # steps 1 and 2 are finished: nobody reads the proposals any more
    monkeypatch.setattr(StepTrainer, "train", lambda trainer: pytest.fail("trained"))
    message = f"{path.parent} was changed after it was written.*--restart-from step1_rpn does"
    with pytest.raises(ConfigError, match=message):
        restart(copied, "2")
    assert os.path.isfile(os.path.join(copied.OUTPUT_DIR, "step2_fast_rcnn", "model_final.pth"))  # nothing is removed
    forget_steps(copied, "step2_fast_rcnn", "step3_rpn", "step4_fast_rcnn")
    with pytest.raises(ProposalSetError, match=message):
        run(copied, resume=True)


def forget_steps(cfg, *names):
    manifest = Manifest.read(cfg.OUTPUT_DIR)
    for name in names:
        manifest.step(name)["state"] = PENDING
    manifest.write()


def restart(cfg, step):
    trainer = AlternatingTrainer(cfg, resume=True)
    trainer.restart_from = step
    trainer.train()


def test_a_damaged_final_network_is_not_evaluated_and_put_together_anew(copied, tmp_path):
    final = os.path.join(copied.OUTPUT_DIR, "model_final.pth")
    flip_a_bit(final)
    copied.DATASETS.TRAIN, copied.DATASETS.TEST = (), ()
    (tmp_path / "mine.yaml").write_text(copied.dump())

    def evaluate(*words):
        main(default_argument_parser().parse_args(["--config-file", str(tmp_path / "mine.yaml"), *words]))

    with pytest.raises(CheckpointError, match=f"{final} is not the file that its run wrote.*--resume puts"):
        evaluate("--eval-only")
    evaluate("--resume")
    evaluate("--eval-only")


def test_a_damaged_network_of_a_step_is_not_evaluated(copied):
    folder = os.path.join(copied.OUTPUT_DIR, "step1_rpn")
    flip_a_bit(os.path.join(folder, "model_final.pth"))
    args = default_argument_parser().parse_args(["--config-file", os.path.join(folder, "config.yaml"), "--eval-only"])
    with pytest.raises(CheckpointError, match="step1_rpn/model_final.pth is not the file"):
        main(args)


def test_a_damaged_checkpoint_of_pre_training_is_not_resumed(shapes, tmp_path, monkeypatch, caplog):
    from frcnn_alt.engine import pretrain as module

    cfg, output = tiny_config(shapes, tmp_path, exact=True), str(tmp_path / "weights.pth")
    cfg.PRETRAIN.IMAGE_SIZE, cfg.PRETRAIN.BATCH_SIZE, cfg.PRETRAIN.MAX_ITER, cfg.PRETRAIN.STEPS = 32, 4, 4, (3,)
    begun, stock = [], module.PretrainTrainer.run_step

    def run_step(trainer):
        begun.append(trainer.iter)
        cut(trainer) if len(begun) == 4 else stock(trainer)

    monkeypatch.setattr(module.PretrainTrainer, "run_step", run_step)
    with pytest.raises(KeyboardInterrupt):
        pretrain(cfg, output)
    (checkpoint,) = Path(working_folder(output)).glob("*.pth")
    flip_a_bit(checkpoint)
    assert pretrain(cfg, output, resume=True) == output
    assert begun == [0, 1, 2, 3, 0, 1, 2, 3] and f"{checkpoint} is damaged" in caplog.text
    assert sorted(path.suffix for path in Path(working_folder(output)).iterdir()) == [".json", ".lock"]
