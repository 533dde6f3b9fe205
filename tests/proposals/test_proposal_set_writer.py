"""Bad input, interruption and replacement while proposal sets are written, and putting parts together."""

import os

from frcnn_alt.proposals import ProposalSet, ProposalSetError, ProposalSetWriter, merge_proposal_sets

import numpy as np
import pytest
import torch
from proposal_sets import IMAGES, write


@pytest.mark.parametrize(
    "boxes, scores, complaint",
    [
        ([[0, 0, 1, float("nan")]], [1], "NaN"),
        ([[0, 0, 1, 1]], [float("inf")], "NaN or infinity"),
        ([[0, 0, 1, 1]], [1, 2], r"\(1, 4\) and \(2,\)"),
        ([[0, 0, 1]], [1], r"\(1, 3\)"),
        ([0, 0, 1, 1], [1], r"\(4,\)"),
        ([[0, 0, 1, 1], [5, 0, 4, 1]], [1, 2], "x2 < x1"),
        ([[0, 5, 1, 4]], [1], "y2 < y1"),
    ],
)
def test_bad_proposals_are_refused_with_the_image(tmp_path, boxes, scores, complaint):
    with pytest.raises(ProposalSetError, match=f"image 000123 of toys.*{complaint}"):
        write(tmp_path / "set", {"000123": (boxes, scores)})
    assert list(tmp_path.iterdir()) == []


def test_an_image_is_added_once(tmp_path):
    with pytest.raises(ProposalSetError, match="image 5 .*already"):
        write(tmp_path / "set", {5: ([], []), "5": ([], [])})


def test_adding_outside_of_with(tmp_path):
    writer = ProposalSetWriter(tmp_path / "set", "toys")
    with pytest.raises(ProposalSetError, match="with ProposalSetWriter"):
        writer.add("a", [], [])


def test_exception_leaves_the_old_set(tmp_path):
    old = write(tmp_path / "set", IMAGES).sha256
    with pytest.raises(KeyboardInterrupt), ProposalSetWriter(tmp_path / "set", "toys") as writer:
        writer.add("a", [], [])
        raise KeyboardInterrupt
    assert ProposalSet(tmp_path / "set").sha256 == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_killed_process_leaves_the_old_set_and_the_next_one_can_write(tmp_path):
    old = write(tmp_path / "set", IMAGES).sha256
    process = os.fork()
    if process == 0:
        with ProposalSetWriter(tmp_path / "set", "toys") as writer:
            writer.add("a", [[0, 0, 1, 1]], [1.0])
            os._exit(9)
    assert os.WEXITSTATUS(os.waitpid(process, 0)[1]) == 9
    assert (tmp_path / "set.partial").is_dir()
    assert ProposalSet(tmp_path / "set").sha256 == old
    assert write(tmp_path / "set", {"a": ([[0, 0, 1, 1]], [1.0])}).image_ids == ["a"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize("moves_before_the_crash", range(5))
def test_crash_while_moving_into_place_leaves_one_whole_set(tmp_path, monkeypatch, moves_before_the_crash):
    old = write(tmp_path / "set", IMAGES).sha256
    real_replace, moves = os.replace, []

    def crashing_replace(source, target):
        if len(moves) == moves_before_the_crash:
            raise OSError("power cut")
        moves.append(target)
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", crashing_replace)
    with pytest.raises(OSError, match="power cut"):
        write(tmp_path / "set", {"a": ([[0, 0, 1, 1]], [1.0])})
    monkeypatch.undo()
    found = ProposalSet(tmp_path / "set")
    assert found.sha256 == old
    found.verify()


def test_replacing_leaves_no_old_files_and_an_open_reader_keeps_what_it_read(tmp_path):
    old = write(tmp_path / "set", IMAGES)
    before = old["b"][0]
    new = write(tmp_path / "set", {"b": ([[0, 0, 1, 1]], [1.0])})
    np.testing.assert_array_equal(old["b"][0], before)
    np.testing.assert_array_equal(new["b"][0], [[0, 0, 1, 1]])
    assert len(list((tmp_path / "set").iterdir())) == 3


def test_metadata_is_kept_and_must_be_json(tmp_path):
    with ProposalSetWriter(tmp_path / "set", "toys", {"post_nms_topk": 2000}):
        pass
    assert ProposalSet(tmp_path / "set").metadata == {"post_nms_topk": 2000}
    with pytest.raises(TypeError):
        ProposalSetWriter(tmp_path / "other", "toys", {"model": torch.nn.Identity()})


def test_merged_parts_equal_the_set_written_at_once(tmp_path):
    whole = write(tmp_path / "whole", IMAGES)
    write(tmp_path / "0", {key: IMAGES[key] for key in ("000007", "b")})
    write(tmp_path / "1", {key: IMAGES[key] for key in ("a",)})
    write(tmp_path / "2", {})  # a process that had no image
    merged = merge_proposal_sets([tmp_path / n for n in "012"], tmp_path / "merged", order=["b", "a", "000007"])
    assert merged.image_ids == whole.image_ids
    assert merged.sha256 == whole.sha256
    np.testing.assert_array_equal(merged["000007"][0], whole["000007"][0])


def test_parts_that_do_not_fit_together(tmp_path):
    write(tmp_path / "0", {"a": IMAGES["a"], "b": IMAGES["b"]})
    write(tmp_path / "1", {"b": IMAGES["b"]})
    write(tmp_path / "2", {"c": IMAGES["b"]}, name="voc")
    with pytest.raises(ProposalSetError, match="image b is both in .*0 and in .*1"):
        merge_proposal_sets([tmp_path / "0", tmp_path / "1"], tmp_path / "merged", order=["a", "b"])
    with pytest.raises(ProposalSetError, match=r"2 data sets \(toys, voc\)"):
        merge_proposal_sets([tmp_path / "0", tmp_path / "2"], tmp_path / "merged", order=["a", "b", "c"])
    for order, unmatched in ((["a"], "b"), (["a", "b", "d"], "d")):
        with pytest.raises(ProposalSetError, match=f"1 images .*: {unmatched}$"):
            merge_proposal_sets([tmp_path / "0"], tmp_path / "merged", order=order)
    assert not (tmp_path / "merged").exists()
