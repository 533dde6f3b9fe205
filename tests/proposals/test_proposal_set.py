"""Round trips, order, laziness and damage of proposal sets on disk."""

import json
import os
import pickle
import tracemalloc

from frcnn_alt.proposals import ProposalSet, ProposalSetError, ProposalSetWriter, merge_proposal_sets

import numpy as np
import pytest
import torch
from proposal_sets import IMAGES, random_proposals, write


def test_round_trip_by_descending_score(tmp_path):
    proposals = write(tmp_path / "set", IMAGES)
    assert proposals.image_ids == list(proposals) == ["b", "a", "000007"]
    assert (len(proposals), proposals.num_boxes, proposals.dataset_name) == (3, 305, "toys")
    for image_id, (boxes, scores) in IMAGES.items():
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


def test_what_is_read_is_a_copy(tmp_path):
    proposals = write(tmp_path / "set", IMAGES)
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


def test_pickled_set_reads(tmp_path):
    proposals = write(tmp_path / "set", IMAGES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(proposals))["b"][0], proposals["b"][0])


def test_unknown_image_and_missing_images(tmp_path):
    proposals = write(tmp_path / "set", IMAGES)
    with pytest.raises(ProposalSetError, match=r"set \(toys\) has no image 7"):
        proposals[7]
    proposals.check_covers([{"image_id": "a"}, {"image_id": "b"}])
    dicts = [{"image_id": number} for number in range(100, 120)] + [{"image_id": "a"}]
    with pytest.raises(ProposalSetError, match=r"set \(toys.*lacks 20 of 21 images: 100, 101, 102, 103, 104, \.\.\."):
        proposals.check_covers(dicts)


def test_hash_is_of_ids_boxes_scores_and_order(tmp_path):
    reference = write(tmp_path / "0", IMAGES).sha256
    assert write(tmp_path / "1", IMAGES, name="other").sha256 == reference
    assert write(tmp_path / "2", dict(reversed(IMAGES.items()))).sha256 != reference
    boxes, scores = IMAGES["b"]
    assert write(tmp_path / "3", {**IMAGES, "b": (boxes + 1, scores)}).sha256 != reference
    assert write(tmp_path / "4", {**IMAGES, "b": (boxes, scores + 1)}).sha256 != reference
    assert write(tmp_path / "5", {**IMAGES, "c": ([], [])}).sha256 != reference


def test_no_set_and_foreign_folder(tmp_path):
    with pytest.raises(ProposalSetError, match="no proposal set at .*nothing"):
        ProposalSet(tmp_path / "nothing")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    with pytest.raises(ProposalSetError, match="thesis exists and is not a proposal set"):
        write(tmp_path / "thesis", {})
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "precious"


@pytest.mark.parametrize("name, size", [("boxes", 305 * 16), ("scores", 305 * 4)])
def test_truncated_or_missing_data_file(tmp_path, name, size):
    write(tmp_path / "set", IMAGES)
    (file,) = (tmp_path / "set").glob(f"{name}-*.float32")
    assert file.stat().st_size == size
    os.truncate(file, size - 4)
    with pytest.raises(ProposalSetError, match=f"{name}-.* has {size - 4} bytes, {size} bytes expected"):
        ProposalSet(tmp_path / "set")
    file.unlink()
    with pytest.raises(ProposalSetError, match=f"{name}-.* is missing"):
        ProposalSet(tmp_path / "set")


def test_changed_content_is_found_by_verify(tmp_path):
    proposals = write(tmp_path / "set", IMAGES)
    (file,) = (tmp_path / "set").glob("boxes-*.float32")
    with open(file, "r+b") as opened:
        opened.write(b"\x01")
    with pytest.raises(ProposalSetError, match="changed after it was written"):
        proposals.verify()


def test_damaged_index(tmp_path):
    write(tmp_path / "set", IMAGES)
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


def test_a_set_that_is_cut_while_it_is_read_is_an_error_and_not_the_end_of_the_process(tmp_path):
    proposals = write(tmp_path / "set", IMAGES)
    assert len(proposals["b"][0]) == len(IMAGES["b"][0])
    (file,) = (tmp_path / "set").glob("boxes-*.float32")
    os.truncate(file, 16)
    with pytest.raises(ProposalSetError, match="boxes-.* was cut after it was opened"):
        proposals["000007"]
    proposals.close()
    file.unlink()
    with pytest.raises(ProposalSetError, match="boxes-.* cannot be read any more: No such file"):
        proposals["000007"]


def test_merging_many_parts_keeps_few_files_open(tmp_path, monkeypatch):
    parts = []
    for number in range(30):
        write(
            tmp_path / f"part{number}",
            {f"{number} {k}": random_proposals(np.random.default_rng(int(k)), 3) for k in "01"},
        )
        parts.append(tmp_path / f"part{number}")
    most, stock = [], ProposalSet.__getitem__

    def read(proposals, image_id):
        found = stock(proposals, image_id)
        most.append(len(os.listdir("/proc/self/fd")))
        return found

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(ProposalSet, "__getitem__", read)
    merged = merge_proposal_sets(parts, tmp_path / "set", [f"{n} {k}" for k in "01" for n in range(30)])
    assert len(merged) == 60 and max(most) <= before + 4  # two of a part, two of the set that is written
    merged.verify()
