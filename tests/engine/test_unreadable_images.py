"""Images that break in the middle of a run: it stops with one error and is gone on with, or goes on without them."""

import json
import logging
import os
import shutil
from functools import partial
from pathlib import Path

from frcnn_alt.data import DatasetError
from frcnn_alt.engine import StepTrainer, run_command_line
from frcnn_alt.engine.failures import guarded
from frcnn_alt.proposals import ProposalSet

import pytest
import torch
from miniature import final_hash, run, run_until, tiny_config
from process_commands import TWO, arguments, train_while_an_image_breaks
from two_processes import at_most

pytestmark = pytest.mark.usefixtures("own_catalogs")


@pytest.fixture
def images(shapes, tmp_path):
    """A copy of the miniature's images, some of which the test breaks."""
    return shutil.copytree(shapes, tmp_path / "shapes")


@pytest.fixture
def breaking():
    """Patches of its own, so that taking them back leaves the catalogs alone."""
    with pytest.MonkeyPatch.context() as patches:
        yield patches


def _config(images, folder, workers, what, **keys):
    cfg = tiny_config(str(images), folder, exact=True)
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.UNREADABLE_IMAGES = workers, what
    cfg.merge_from_list([word for key, value in keys.items() for word in (key.replace("__", "."), value)])
    return cfg


def _break(images, *, after):
    """All that reads the images finds these damaged from now on, each in a way of its own."""
    files = [images / "JPEGImages" / f"{name}.jpg" for name in after]
    for number, file in enumerate(files):
        file.rename(f"{file}.away")
        if number % 2:
            file.write_bytes(Path(f"{file}.away").read_bytes()[:200])
    return [str(file) for file in files]


def _mend(files):
    for file in files:
        os.replace(f"{file}.away", file)


def _break_during(breaking, images, step, names):
    """Damage images at the second iteration of a step, and say which files they are."""
    stock, broken = StepTrainer.run_step, []

    def run_step(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith(step) and trainer.iter == 1 and not broken:
            broken.extend(_break(images, after=names))
        stock(trainer)

    breaking.setattr(StepTrainer, "run_step", run_step)
    return broken


def _trainval(images):
    return (images / "ImageSets" / "Main" / "trainval.txt").read_text().split()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stops_with_one_sentence_and_goes_on_once_the_images_are_back(workers, images, tmp_path, breaking, capfd):
    longer = {"SCHEDULE__STEP2__MAX_ITER": 12}  # workers are some batches ahead
    undisturbed = _config(images, tmp_path / "undisturbed", workers, "stop", **longer)
    run(undisturbed)
    cfg = _config(images, tmp_path / "run", workers, "stop", **longer)
    files = _break_during(breaking, images, "step2_fast_rcnn", _trainval(images))
    capfd.readouterr()
    assert guarded(lambda: run(cfg) and 0) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: Image ") and said.count("\n") == 1 and "Traceback" not in said
    assert any(file in said for file in files) and "--resume" in said and "UNREADABLE_IMAGES" in said
    breaking.undo()
    _mend(files)
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_skipped_told_once_and_counted(workers, images, tmp_path, breaking, caplog):
    gone, tested = _trainval(images)[2], (images / "ImageSets" / "Main" / "test.txt").read_text().split()[3]

    def broken_run(name):
        cfg = _config(images, tmp_path / name, workers, "skip", DATALOADER__MAX_UNREADABLE_SHARE=0.4)
        files = _break_during(breaking, images, "step1_rpn", [gone, tested])
        with caplog.at_level(logging.WARNING):
            results = run(cfg)
        breaking.undo()
        return cfg, files, results

    cfg, files, results = broken_run("run")
    for file in files:
        assert sum(f"{file}: " in record.getMessage() and "skipped" in record.getMessage() for record in caplog.records)
    steps = json.loads((tmp_path / "run" / "manifest.json").read_text())["steps"]
    # A Fast R-CNN step sees the training images alone.
    assert set(steps[0]["skipped_images"]) == set(files) and set(steps[1]["skipped_images"]) == {files[0]}
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(written["skipped_images"]) == {files[1]} and "AP50" in written["bbox"]
    for data_set, image in ((cfg.DATASETS.TRAIN[0], gone), (cfg.DATASETS.TEST[0], tested)):
        proposals = ProposalSet(os.path.join(cfg.OUTPUT_DIR, "step1_rpn", "proposals", data_set))
        assert len(proposals[image][1]) == 0 and sum(len(proposals[other][1]) for other in proposals) > 0

    # With the same images unreadable from the same moment on, it is the same run.
    _mend(files)
    again, files, _ = broken_run("again")
    assert final_hash(again) == final_hash(cfg)


def test_a_run_that_skips_is_resumed_exactly_while_the_image_is_still_gone(images, tmp_path, breaking):
    _break(images, after=_trainval(images)[:1])
    undisturbed = _config(images, tmp_path / "undisturbed", 0, "skip")
    run(undisturbed)
    cfg = _config(images, tmp_path / "run", 2, "skip")
    run_until(cfg, "step3_rpn", 3)
    breaking.undo()
    run(cfg, resume=True)
    assert final_hash(cfg) == final_hash(undisturbed)


def test_too_many_stop_a_run_that_skips(images, tmp_path, breaking):
    cfg = _config(images, tmp_path / "run", 0, "skip")
    _break_during(breaking, images, "step1_rpn", _trainval(images)[:3])
    with pytest.raises(DatasetError, match="2 of 6 images cannot be read, more than DATALOADER.MAX_UNREADABLE_SHARE"):
        run(cfg)
    with pytest.raises(ValueError, match="3 of the 6 images of shapes.*MAX_UNREADABLE_SHARE"):
        run(_config(images, tmp_path / "other", 0, "skip"))


def test_images_that_break_before_they_are_proposed_for_stop_it_too(images, tmp_path, breaking):
    cfg = _config(images, tmp_path / "run", 0, "stop")
    tested = (images / "ImageSets" / "Main" / "test.txt").read_text().split()[5]
    files = _break_during(breaking, images, "step3_rpn", [tested])
    with pytest.raises(DatasetError, match=tested):
        run(cfg)
    assert not os.path.exists(tmp_path / "run" / "step3_rpn" / "proposals" / "shapes_test.partial")
    breaking.undo()
    _mend(files)
    assert "AP50" in run(cfg, resume=True)["bbox"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")
@pytest.mark.parametrize(("what", "status"), [("stop", 2), ("skip", 0)])
def test_several_processes_stop_together_with_one_sentence_or_go_on(what, status, images, tmp_path):
    file = images / "JPEGImages" / f"{_trainval(images)[0]}.jpg"
    command = partial(
        train_while_an_image_breaks, images=str(images), output=str(tmp_path / "run"), image=str(file), what=what
    )
    with at_most(120):
        assert run_command_line(command, arguments(tmp_path, *TWO)) == status
    said = (tmp_path / "said").read_text()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    if what == "stop":
        assert said.startswith(f"error: Image {file.stem} cannot be read: {file}") and said.count("\n") == 1
    else:
        assert "error" not in said and (tmp_path / "run" / "results.json").is_file()
        assert set(manifest["steps"][0]["skipped_images"]) == {str(file)}
