"""What is written is the old file or the new one; what cannot be written says which file, why, and the mend."""

import errno
import os
import resource
from pathlib import Path

from frcnn_alt.checkpointing import read_checkpoint, write_checkpoint
from frcnn_alt.proposals import ProposalSet, ProposalSetWriter
from frcnn_alt.safe_write import WriteError, make_folder, naming_errors, new_folder, replacing, write_bytes, write_text

import numpy as np
import pytest
import torch


def full_disk(monkeypatch, at=1):
    """Every fsync from the `at`-th on finds the disk full: what a file system with delayed allocation says."""
    calls, stock = [], os.fsync

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        stock(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_text_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("old", "n\u00e9w"):
        write_text(path, text)
        assert path.read_bytes() == text.encode("utf-8")
    assert os.listdir(tmp_path) == ["a.txt"]


def write_a_set(path):
    with ProposalSetWriter(path, "toys") as writer:
        writer.add("a", np.array([[0.0, 0, 5, 5]]), np.array([1.0]))


WRITERS = {
    "bytes": lambda path, content: write_bytes(path, content.encode()),
    "checkpoint": lambda path, content: write_checkpoint({"model": {"w": torch.ones(4)}, "text": content}, str(path)),
    "set": lambda path, content: write_a_set(path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_the_old_one(kind, tmp_path, monkeypatch):
    path, write = tmp_path / "it", WRITERS[kind]
    write(path, "old")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    full_disk(monkeypatch)
    with pytest.raises(WriteError, match=r"it(/index.json)? cannot be written: No space left on device.*GiB are free"):
        write(path, "new")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    monkeypatch.undo()
    write(path, "new")


def test_a_full_disk_while_the_index_of_a_set_is_written_leaves_the_old_set(tmp_path, monkeypatch):
    path = tmp_path / "set"
    with ProposalSetWriter(path, "toys") as writer:
        writer.add("b", np.zeros((3, 4)), np.zeros(3))
    before = ProposalSet(path).sha256
    full_disk(monkeypatch, at=3)  # boxes, scores, index
    with pytest.raises(WriteError, match="No space left"):
        write_a_set(path)
    ProposalSet(path).verify()
    assert ProposalSet(path).sha256 == before and os.listdir(tmp_path) == ["set"]


def test_torch_save_into_a_file_that_may_not_grow(tmp_path):
    """The system itself says no in the middle of a tensor; torch makes a RuntimeError without a path of that."""
    path = str(tmp_path / "model.pth")
    write_checkpoint({"model": {"w": torch.ones(2)}}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(WriteError, match="model.pth cannot be written: File too large."):
            write_checkpoint({"model": {"w": torch.zeros(100_000), "b": torch.zeros(3)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_checkpoint(path)["model"]["w"].tolist() == [1.0, 1.0] and os.listdir(tmp_path) == ["model.pth"]


def test_a_folder_that_has_gone_and_one_that_is_a_file(tmp_path):
    with pytest.raises(WriteError, match=r"gone/a.txt cannot be written: No such file.* no folder .*gone \(any more\)"):
        write_text(tmp_path / "gone" / "a.txt", "")
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file/below cannot be written: Not a directory"):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(WriteError, match="Not a directory"), ProposalSetWriter(tmp_path / "file" / "set", "toys"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path):
    os.chmod(tmp_path, 0o500)
    with pytest.raises(WriteError, match="Permission denied. Make .* writable"):
        write_text(tmp_path / "a.txt", "")


def test_an_exception_of_the_block_is_nobody_elses_and_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a.txt", "w") as file:
        file.write("half")
        raise KeyError
    with pytest.raises(KeyError), new_folder(tmp_path / "folder") as folder:
        write_text(os.path.join(folder, "a.txt"), "half")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_errors_of_reading_can_be_told_from_those_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, naming_errors(tmp_path, of_writing_alone=True):
        (tmp_path / "no_image.jpg").read_bytes()
    assert not isinstance(raised.value, WriteError)
    with pytest.raises(WriteError, match="read-only|Read-only"), naming_errors(tmp_path, of_writing_alone=True):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_an_image_that_was_written_half_makes_no_set(tmp_path, monkeypatch):
    """Whoever goes on after the error, as the writer of parts does to keep what there is, must not publish it."""
    writer = ProposalSetWriter(tmp_path / "set", "toys").__enter__()
    writer.add("a", np.zeros((1, 4)), np.zeros(1))
    stock = writer._files["scores"]

    class Full:
        def write(self, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(stock, name)

    writer._files["scores"] = Full()
    with pytest.raises(WriteError, match="set cannot be written"):
        writer.add("b", np.zeros((1, 4)), np.zeros(1))
    writer.__exit__(None, None, None)
    assert os.listdir(tmp_path) == []


def test_a_folder_whose_place_cannot_be_taken_is_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page").write_text("old")
    stock, names = os.rename, []

    def rename(source, target):
        names.append(str(target))
        if len(names) == 2:
            raise OSError(errno.EIO, "the disk fails")
        stock(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(WriteError, match="report"), new_folder(tmp_path / "report") as folder:
        (Path(folder) / "page").write_text("new")
    assert (tmp_path / "report" / "page").read_text() == "old" and os.listdir(tmp_path) == ["report"]
