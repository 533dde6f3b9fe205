"""The plan tells how much disk a run will need: as much as a real run takes, and never less; too much is a problem."""

import os
from collections import namedtuple

from frcnn_alt import safe_write
from frcnn_alt.engine import AlternatingTrainer, ConfigError, disk_space, main
from frcnn_alt.engine.disk_space import _REPORT, disk_of_run
from frcnn_alt.engine.make_proposals import make_sets_by_rpn
from frcnn_alt.engine.schedule import build_schedule

import pytest
from joint_miniature import arguments
from miniature import run, tiny_config

Usage = namedtuple("Usage", "total used free")


def size_of(folder, only=""):
    paths = [os.path.join(path, name) for path, _, names in os.walk(folder) for name in names]
    return sum(os.path.getsize(path) for path in paths if only in path)


def sizeable_config(shapes, folder):
    """Networks of some megabytes, beside which logs are nothing; so few proposals that every image has all of them."""
    cfg = tiny_config(shapes, folder, exact=True)
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 0.25, 400
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 0
    cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK = 3
    return cfg


def need_of(cfg):
    plan = AlternatingTrainer(cfg).plan()
    assert not plan.problems
    return disk_of_run(cfg, build_schedule(cfg), plan.steps)


def largest_size(cfg, monkeypatch):
    """The most that the run's folder holds, looked at whenever a file has been written and not renamed yet."""
    most, stock = [0], os.fsync

    def fsync(descriptor):
        most[0] = max(most[0], size_of(cfg.OUTPUT_DIR))
        stock(descriptor)

    monkeypatch.setattr(safe_write.os, "fsync", fsync)
    run(cfg)
    return max(most[0], size_of(cfg.OUTPUT_DIR))


@pytest.mark.parametrize("flips", ["recomputed", "mirrored"])
def test_a_real_run_takes_what_the_plan_says(flips, shapes, tmp_path, monkeypatch):
    cfg = sizeable_config(shapes, tmp_path / "run")
    cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = flips
    need = need_of(cfg)
    peak = largest_size(cfg, monkeypatch)
    networks, proposals = size_of(cfg.OUTPUT_DIR, ".pth"), size_of(cfg.OUTPUT_DIR, "/proposals/")
    assert networks <= need.networks <= 1.03 * networks
    boxes = size_of(cfg.OUTPUT_DIR, ".float32")
    assert proposals <= need.proposals and need.proposals - proposals < 5000 * 6 and boxes < proposals
    # Of the few images' detections, log lines and the report there is no more than this.
    assert peak <= need.peak <= 1.03 * peak + _REPORT + 200_000


def test_the_box_files_are_told_exactly(shapes, tmp_path):
    """6 training images twice and 8 test images, in each of two steps, 3 proposals of 20 bytes."""
    cfg = sizeable_config(shapes, tmp_path / "run")
    before = need_of(cfg).proposals
    cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK = 2003
    assert need_of(cfg).proposals - before == 2 * (2 * 6 + 8) * 2000 * 20


def free_disk(monkeypatch, free):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda folder: Usage(2 * free, free, free))


def test_a_run_that_cannot_fit_says_so_before_it_begins(shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run", exact=True)
    need = need_of(cfg).peak
    free_disk(monkeypatch, need - 1)
    (problem,) = AlternatingTrainer(cfg).plan().problems
    assert f"{need / 2**20:.1f} MiB more on the disk of OUTPUT_DIR {cfg.OUTPUT_DIR}" in problem
    assert "SCHEDULE.PROPOSALS.POST_NMS_TOPK" in problem and "make room" in problem
    with pytest.raises(ConfigError, match="on the disk of OUTPUT_DIR"):
        run(cfg)
    assert not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "manifest.json"))
    free_disk(monkeypatch, need)
    plan = AlternatingTrainer(cfg).plan()
    assert not plan.problems and f"disk: up to {need / 2**20:.1f} MiB in {cfg.OUTPUT_DIR}" in str(plan)


def test_what_is_there_already_counts_on_a_resume(shapes, whole, monkeypatch):
    need, there = need_of(whole).peak, size_of(whole.OUTPUT_DIR)
    free_disk(monkeypatch, need - there)
    assert not AlternatingTrainer(whole, resume=True).plan().problems
    free_disk(monkeypatch, need - there - 1)
    assert len(AlternatingTrainer(whole, resume=True).plan().problems) == 1


def test_joint_training_is_planned_too(shapes, tmp_path, monkeypatch, capsys):
    args = arguments("zf", shapes, tmp_path / "run", "MODEL.WEIGHTS", "")
    args.dry_run = True
    assert main(args) == 0 and "disk: up to" in capsys.readouterr().out
    free_disk(monkeypatch, 1000)
    assert main(args) == 1 and "TO MEND: The run needs up to" in capsys.readouterr().out


def test_the_plan_tells_the_memory_of_the_proposals(shapes, tmp_path):
    """Of the 14 images of both data sets, and only where a step has proposals."""
    cfg = tiny_config(shapes, tmp_path / "run", exact=True)
    assert "index, up to 0.0 MiB for 14 images" in str(AlternatingTrainer(cfg).plan())
    cfg.SCHEDULE.NAME = "joint"
    assert "memory:" not in str(AlternatingTrainer(cfg).plan())


def test_making_proposals_looks_at_the_disk_first(shapes, whole, tmp_path, monkeypatch):
    cfg = whole.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = os.path.join(whole.OUTPUT_DIR, "model_final.pth")
    free_disk(monkeypatch, 1000)
    with pytest.raises(
        ConfigError, match="This needs up to .* on the disk of .*sets, where .* another --output, or take fewer boxes"
    ):
        make_sets_by_rpn(cfg, str(tmp_path / "sets"))
    assert not (tmp_path / "sets").exists()
