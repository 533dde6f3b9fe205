"""A disk that is full, or a folder that has gone, stops a run with one sentence; it goes on as if nothing had been."""

import contextlib
import errno
import os
import resource
import shutil

from frcnn_alt.engine import StepTrainer, default_argument_parser, main, run_command_line
from frcnn_alt.engine.failures import guarded
from frcnn_alt.safe_write import WriteError

import pytest
from detectron2.utils.events import JSONWriter
from miniature import final_hash, run, six_iterations


def full_disk_for(monkeypatch, part):
    """The disk is full for files whose path has `part` in it, when they are brought to it."""
    stock = os.fsync

    def fsync(descriptor):
        if part in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        stock(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    "part, named",
    [
        ("step1_rpn/model_0000002.pth", "step1_rpn/model_0000002.pth"),
        ("step2_fast_rcnn/model_final.pth", "step2_fast_rcnn/model_final.pth"),
        ("step3_rpn/proposals/tiny_shapes_test.partial/boxes", "step3_rpn/proposals/tiny_shapes_test"),
        ("run/model_final.pth", "run/model_final.pth"),
        ("run/results.json", "run/results.json"),
    ],
)
def test_it_names_the_file_and_goes_on_once_there_is_room(
    part, named, shapes, undisturbed_six, tmp_path, monkeypatch, capsys
):
    cfg = six_iterations(shapes, tmp_path / "run")
    full_disk_for(monkeypatch, part)
    assert guarded(lambda: run(cfg) and 0) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "cannot be written: No space left on device" in said and "--resume" in said
    assert named in said.partition(" cannot")[0]
    assert not [name for _, _, names in os.walk(cfg.OUTPUT_DIR) for name in names if name.endswith(".partial")]
    monkeypatch.undo()
    results = run(cfg, resume=True)
    assert "bbox" in results and final_hash(cfg) == final_hash(undisturbed_six)


def test_metrics_that_cannot_be_written_have_a_path(shapes, undisturbed_six, tmp_path, monkeypatch):
    cfg = six_iterations(shapes, tmp_path / "run")

    def write(writer):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(JSONWriter, "write", write)
    with pytest.raises(WriteError, match="step1_rpn/metrics.json cannot be written: No space left"):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed_six)


@pytest.mark.parametrize("gone", ["step2_fast_rcnn", "."])
def test_a_folder_that_is_removed_in_the_middle_of_a_step(gone, shapes, undisturbed_six, tmp_path, monkeypatch):
    """One step begins anew, or all of it."""
    cfg = six_iterations(shapes, tmp_path / "run")
    stock = StepTrainer.run_step

    def run_step(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith("step2_fast_rcnn") and trainer.iter == 3:
            shutil.rmtree(os.path.normpath(os.path.join(cfg.OUTPUT_DIR, gone)))
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "run_step", run_step)
    with pytest.raises(
        WriteError, match=r"cannot be written: No such file or directory\. There is no folder .*put it back"
    ):
        run(cfg)
    monkeypatch.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed_six)


def test_an_output_folder_below_a_file(shapes, tmp_path):
    (tmp_path / "file").write_text("")
    cfg = six_iterations(shapes, tmp_path / "file" / "run")
    with pytest.raises((WriteError, NotADirectoryError)):
        run(cfg)


@contextlib.contextmanager
def files_of_at_most(size):
    """The system itself refuses to let a file grow further, as a full disk does in the middle of a tensor."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_command_says_it_in_one_line_and_goes_on(shapes, undisturbed_six, tmp_path, capfd):
    """Status 2 and no traceback, neither of detectron2's loop nor of torch."""
    cfg = undisturbed_six.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()  # they are registered from the keys
    (tmp_path / "run.yaml").write_text(cfg.dump())
    words = ["--config-file", str(tmp_path / "run.yaml"), "OUTPUT_DIR", str(tmp_path / "run")]
    with files_of_at_most(60_000):
        status = run_command_line(main, default_argument_parser().parse_args(words))
    said = capfd.readouterr()
    assert status == 2 and "Traceback" not in said.out + said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert "step1_rpn/model_0000000.pth cannot be written: File too large" in line
    assert not [name for name in os.listdir(tmp_path / "run" / "step1_rpn") if name.startswith("model_")]
    assert run_command_line(main, default_argument_parser().parse_args(["--resume", *words])) == 0
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    assert final_hash(cfg) == final_hash(undisturbed_six)
