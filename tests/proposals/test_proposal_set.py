"""Round trips, order, laziness, bad input, damage and interruption of proposal sets on disk."""

import json
import os
import pickle
import tracemalloc

from frcnn_alt.proposals import ProposalSet, ProposalSetError, ProposalSetWriter, merge_proposal_sets

import numpy as np
import pytest
import torch


def random_proposals(rng, count):
    corners = rng.uniform(0, 500, size=(count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    return boxes, rng.normal(size=count).astype(np.float32)


def write(path, images, name="toys"):
    with ProposalSetWriter(path, name) as writer:
        for image_id, (boxes, scores) in images.items():
            writer.add(image_id, boxes, scores)
    return ProposalSet(path)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return {image_id: random_proposals(rng, count) for image_id, count in [("b", 5), ("a", 0), ("000007", 300)]}


def test_round_trip_by_descending_score(tmp_path, images):
    proposals = write(tmp_path / "set", images)
    assert proposals.image_ids == list(proposals) == ["b", "a", "000007"]
    assert (len(proposals), proposals.num_boxes, proposals.dataset_name) == (3, 305, "toys")
    for image_id, (boxes, scores) in images.items():
        rows = sorted(zip(scores.tolist(), boxes.tolist()), reverse=True)
        read_boxes, read_scores = proposals[image_id]
        assert read_boxes.dtype == read_scores.dtype == np.float32
        assert read_boxes.shape == (len(boxes), 4)
        assert read_scores.tolist() == [score for score, _ in rows]
        assert read_boxes.tolist() == [box for _, box in rows]
    proposals.verify()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_equal_scores_keep_their_order(tmp_path):
    boxes = np.arange(50, dtype=np.float32)[:, None] + np.array([0, 0, 5, 5])
    scores = np.repeat([1.0, 2.0], 25)
    read, _ = write(tmp_path / "set", {"a": (boxes, scores)})["a"]
    assert read[:, 0].tolist() == [*range(25, 50), *range(25)]


def test_ids_are_compared_as_str_and_tensors_are_taken(tmp_path):
    boxes = torch.tensor([[0.0, 1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    proposals = write(tmp_path / "set", {42: (boxes, torch.tensor([0.5], dtype=torch.bfloat16)), 7: ([], [])})
    assert 42 in proposals and "42" in proposals and 4 not in proposals
    np.testing.assert_array_equal(proposals[42][0], [[0, 1, 2, 3]])
    np.testing.assert_array_equal(proposals["42"][1], [0.5])
    assert proposals[7][0].shape == (0, 4)


def test_what_is_read_is_a_copy(tmp_path, images):
    proposals = write(tmp_path / "set", images)
    proposals["b"][0][:] = -1
    assert (proposals["b"][0] >= 0).all()
    proposals.verify()


def test_set_without_boxes_or_images(tmp_path):
    assert len(write(tmp_path / "no_images", {})) == 0
    proposals = write(tmp_path / "no_boxes", {"a": (np.zeros((0, 4)), np.zeros(0))})
    assert proposals["a"][0].shape == (0, 4) and proposals["a"][1].shape == (0,)


def test_neither_writing_nor_reading_holds_the_set_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    boxes, scores = random_proposals(rng, 2000)  # 40 kB an image, 20 MB in all
    tracemalloc.start()
    with ProposalSetWriter(tmp_path / "set", "toys") as writer:
        for image_id in range(500):
            writer.add(image_id, boxes, scores)
    proposals = ProposalSet(tmp_path / "set")
    for image_id in (0, 250, 499):
        assert len(proposals[image_id][0]) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
    assert len(pickle.dumps(proposals)) < 5e4  # also once it has been read from


def test_pickled_set_reads(tmp_path, images):
    proposals = write(tmp_path / "set", images)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(proposals))["b"][0], proposals["b"][0])


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


def test_unknown_image_and_missing_images(tmp_path, images):
    proposals = write(tmp_path / "set", images)
    with pytest.raises(ProposalSetError, match=r"set \(toys\) has no image 7"):
        proposals[7]
    proposals.check_covers([{"image_id": "a"}, {"image_id": "b"}])
    dicts = [{"image_id": number} for number in range(100, 120)] + [{"image_id": "a"}]
    with pytest.raises(ProposalSetError, match=r"set \(toys.*lacks 20 of 21 images: 100, 101, 102, 103, 104, \.\.\."):
        proposals.check_covers(dicts)


def test_hash_is_of_ids_boxes_scores_and_order(tmp_path, images):
    reference = write(tmp_path / "0", images).sha256
    assert write(tmp_path / "1", images, name="other").sha256 == reference
    assert write(tmp_path / "2", dict(reversed(images.items()))).sha256 != reference
    boxes, scores = images["b"]
    assert write(tmp_path / "3", {**images, "b": (boxes + 1, scores)}).sha256 != reference
    assert write(tmp_path / "4", {**images, "b": (boxes, scores + 1)}).sha256 != reference
    assert write(tmp_path / "5", {**images, "c": ([], [])}).sha256 != reference


def test_no_set_and_foreign_folder(tmp_path):
    with pytest.raises(ProposalSetError, match="no proposal set at .*nothing"):
        ProposalSet(tmp_path / "nothing")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    with pytest.raises(ProposalSetError, match="thesis exists and is not a proposal set"):
        write(tmp_path / "thesis", {})
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "precious"


@pytest.mark.parametrize("name, size", [("boxes", 305 * 16), ("scores", 305 * 4)])
def test_truncated_or_missing_data_file(tmp_path, images, name, size):
    write(tmp_path / "set", images)
    (file,) = (tmp_path / "set").glob(f"{name}-*.float32")
    assert file.stat().st_size == size
    os.truncate(file, size - 4)
    with pytest.raises(ProposalSetError, match=f"{name}-.* has {size - 4} bytes, {size} bytes expected"):
        ProposalSet(tmp_path / "set")
    file.unlink()
    with pytest.raises(ProposalSetError, match=f"{name}-.* is missing"):
        ProposalSet(tmp_path / "set")


def test_changed_content_is_found_by_verify(tmp_path, images):
    proposals = write(tmp_path / "set", images)
    (file,) = (tmp_path / "set").glob("boxes-*.float32")
    with open(file, "r+b") as opened:
        opened.write(b"\x01")
    with pytest.raises(ProposalSetError, match="changed after it was written"):
        proposals.verify()


def test_damaged_index(tmp_path, images):
    write(tmp_path / "set", images)
    index = tmp_path / "set" / "index.json"
    whole = json.loads(index.read_text())
    for text, complaint in [
        (index.read_text()[:-20], "damaged"),
        (json.dumps({**whole, "version": 99}), "version 1"),
        (json.dumps({**whole, "counts": whole["counts"][:-1]}), "ids and counts differ"),
    ]:
        index.write_text(text)
        with pytest.raises(ProposalSetError, match=complaint):
            ProposalSet(tmp_path / "set")


def test_exception_leaves_the_old_set(tmp_path, images):
    old = write(tmp_path / "set", images).sha256
    with pytest.raises(KeyboardInterrupt), ProposalSetWriter(tmp_path / "set", "toys") as writer:
        writer.add("a", [], [])
        raise KeyboardInterrupt
    assert ProposalSet(tmp_path / "set").sha256 == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_killed_process_leaves_the_old_set_and_the_next_one_can_write(tmp_path, images):
    old = write(tmp_path / "set", images).sha256
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
def test_crash_while_moving_into_place_leaves_one_whole_set(tmp_path, images, monkeypatch, moves_before_the_crash):
    old = write(tmp_path / "set", images).sha256
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


def test_replacing_leaves_no_old_files_and_an_open_reader_keeps_what_it_read(tmp_path, images):
    old = write(tmp_path / "set", images)
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


def test_merged_parts_equal_the_set_written_at_once(tmp_path, images):
    whole = write(tmp_path / "whole", images)
    write(tmp_path / "0", {key: images[key] for key in ("000007", "b")})
    write(tmp_path / "1", {key: images[key] for key in ("a",)})
    write(tmp_path / "2", {})  # a process that had no image
    merged = merge_proposal_sets([tmp_path / n for n in "012"], tmp_path / "merged", order=["b", "a", "000007"])
    assert merged.image_ids == whole.image_ids
    assert merged.sha256 == whole.sha256
    np.testing.assert_array_equal(merged["000007"][0], whole["000007"][0])


def test_parts_that_do_not_fit_together(tmp_path, images):
    write(tmp_path / "0", {"a": images["a"], "b": images["b"]})
    write(tmp_path / "1", {"b": images["b"]})
    write(tmp_path / "2", {"c": images["b"]}, name="voc")
    with pytest.raises(ProposalSetError, match="image b is both in .*0 and in .*1"):
        merge_proposal_sets([tmp_path / "0", tmp_path / "1"], tmp_path / "merged", order=["a", "b"])
    with pytest.raises(ProposalSetError, match=r"2 data sets \(toys, voc\)"):
        merge_proposal_sets([tmp_path / "0", tmp_path / "2"], tmp_path / "merged", order=["a", "b", "c"])
    for order, unmatched in ((["a"], "b"), (["a", "b", "d"], "d")):
        with pytest.raises(ProposalSetError, match=f"1 images .*: {unmatched}$"):
            merge_proposal_sets([tmp_path / "0"], tmp_path / "merged", order=order)
    assert not (tmp_path / "merged").exists()
