"""An index.json of somebody else: it names files of its own folder, and counts that its files have."""

import json

from frcnn_alt.proposals import ProposalSet, ProposalSetError, ProposalSetWriter

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path):
    with ProposalSetWriter(tmp_path / "set", "toys") as writer:
        writer.add("a", np.array([[1, 2, 3, 4], [1, 2, 3, 5]]), np.array([2.0, 1.0]))
        writer.add("b", np.array([[1, 2, 3, 4]]), np.array([2.0]))
    return tmp_path / "set"


def change(folder, **values):
    index = json.loads((folder / "index.json").read_text())
    index.update(values)
    (folder / "index.json").write_text(json.dumps({k: v for k, v in index.items() if v != "left out"}))


@pytest.mark.parametrize("name", ["../secret", "{top}/secret", "..", "a/b", "", 3, None, "a" * 300, "a\0"])
def test_files_elsewhere(folder, name):
    (folder.parent / "secret").write_bytes(bytes(12))
    files = json.loads((folder / "index.json").read_text())["files"]
    name = name.format(top=folder.parent) if isinstance(name, str) else name
    change(folder, files={**files, "scores": name})
    with pytest.raises(ProposalSetError, match=r"index.json is damaged \(files missing or garbled"):
        ProposalSet(folder)


@pytest.mark.parametrize("key", ["dataset", "metadata", "sha256", "image_ids", "counts", "files"])
@pytest.mark.parametrize("value", ["left out", None, 3, [[]], [{}], {"a": 1.5}])
def test_values_of_another_kind(folder, key, value):
    if (key, value) == ("metadata", {"a": 1.5}):
        return
    change(folder, **{key: value})
    with pytest.raises(ProposalSetError, match=f"index.json is damaged.*{key} missing or garbled"):
        ProposalSet(folder)


@pytest.mark.parametrize(
    "counts",
    [
        [2**62, 2**62],
        [2**63 - 1, 2**63 - 1, 5],  # in 64 bits they are 3 together
        [-1, 4],
        [2, True],
        [2, 1.0],
        [2, 10**400],
        [1, 1],
    ],
)
def test_counts_that_the_files_have_not(folder, counts):
    change(folder, counts=counts, image_ids=list("abc")[: len(counts)])
    with pytest.raises(ProposalSetError, match="index.json is damaged|bytes expected"):
        ProposalSet(folder)


@pytest.mark.parametrize("content", [b"[" * 3000, b"\xff", b"", b"3", b"[]"])
def test_files_that_are_none(folder, content):
    (folder / "index.json").write_bytes(content)
    with pytest.raises(ProposalSetError, match="index.json"):
        ProposalSet(folder)
