"""No checkpoint is resumed that is not as it was written."""

import shutil
import subprocess

from frcnn_alt.checkpointing import HASHES_FILE, SafeCheckpointer, checkpoint_to_resume

import pytest
import torch


@pytest.fixture
def checkpoints(tmp_path):
    checkpointer = SafeCheckpointer(torch.nn.Linear(4, 3), str(tmp_path))
    for iteration in (3, 7):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
    return tmp_path


def test_the_newest_is_resumed(checkpoints):
    assert checkpoint_to_resume(str(checkpoints)) == str(checkpoints / "model_0000007.pth")
    assert checkpoint_to_resume(str(checkpoints / "nowhere")) == ""


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_hashes_are_those_of_sha256sum(checkpoints):
    command = ["sha256sum", "--check", HASHES_FILE]
    assert subprocess.run(command, cwd=checkpoints, capture_output=True).returncode == 0
    (checkpoints / "model_0000003.pth").unlink()
    SafeCheckpointer(torch.nn.Linear(1, 1), str(checkpoints)).save("model_0000009", iteration=9)
    assert subprocess.run(command, cwd=checkpoints, capture_output=True).returncode == 0
    assert len((checkpoints / HASHES_FILE).read_text().splitlines()) == 2


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def without_hash(damage):
    def both(path):
        (path.parent / HASHES_FILE).unlink()
        damage(path)

    return both


DAMAGES = {
    "a bit": flip_a_bit,
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "truncated, without hash": without_hash(truncate),
    "last_checkpoint empty": lambda path: (path.parent / "last_checkpoint").write_text(""),
    "last_checkpoint no text": lambda path: (path.parent / "last_checkpoint").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_not_resumed(damage, checkpoints, caplog):
    path = checkpoints / "model_0000007.pth"
    DAMAGES[damage](path)
    assert checkpoint_to_resume(str(checkpoints)) == ""
    named = str(checkpoints) if damage.startswith("last_checkpoint") else str(path)
    assert named in caplog.text and "It is not used: this training begins anew" in caplog.text


def test_one_of_an_earlier_version_has_no_hash_and_is_resumed(checkpoints, caplog):
    (checkpoints / HASHES_FILE).unlink()
    assert checkpoint_to_resume(str(checkpoints)) == str(checkpoints / "model_0000007.pth")
    assert not caplog.records
