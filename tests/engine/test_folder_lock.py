"""Two commands never write into one folder; what a killed one held is free."""

import errno
import fcntl
import os
import signal
import socket
import time

from frcnn_alt.engine import ConfigError, default_argument_parser, main
from frcnn_alt.engine.folder_lock import held_folder
from frcnn_alt.engine.pretrain import pretrain, working_folder

import pytest
from miniature import run, tiny_config


def test_the_second_is_refused_while_the_first_lives(tmp_path):
    message = (
        f"another run is at work in {tmp_path}, process {os.getpid()} on {socket.gethostname()}, since 20..-.*: wait "
        "for it, or choose another OUTPUT_DIR"
    )
    with held_folder(str(tmp_path), "OUTPUT_DIR"):
        with pytest.raises(ConfigError, match=message), held_folder(str(tmp_path), "OUTPUT_DIR"):
            pass
        with pytest.raises(ConfigError, match=message), held_folder(str(tmp_path), "OUTPUT_DIR"):
            pass  # the refused one has left alone what the file says
    with held_folder(str(tmp_path), "OUTPUT_DIR"):
        pass


@pytest.mark.parametrize("leaves_a_child", [False, True])
def test_what_a_killed_process_held_is_free(leaves_a_child, tmp_path):
    """Though a process that it had forked, a data loader's worker, lives on for a while."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with held_folder(str(tmp_path), "OUTPUT_DIR"):
            if leaves_a_child and os.fork() == 0:
                os.write(writer, b"x")
                time.sleep(20)
                os._exit(0)
            os.write(writer, b"" if leaves_a_child else b"x")
            time.sleep(60)
    os.read(reader, 1)
    with pytest.raises(ConfigError, match=f"process {pid} on"), held_folder(str(tmp_path), "OUTPUT_DIR"):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with held_folder(str(tmp_path), "OUTPUT_DIR"):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    ran = []
    with held_folder(str(tmp_path), "OUTPUT_DIR"):
        ran.append(True)
    assert ran and "run.lock cannot be locked (No locks available)" in caplog.text


@pytest.fixture(scope="module")
def finished(shapes, tmp_path_factory):
    cfg = tiny_config(shapes, tmp_path_factory.mktemp("held") / "run")
    for number in range(1, 5):
        cfg.SCHEDULE[f"STEP{number}"].MAX_ITER = 1
    run(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()
    return cfg


@pytest.mark.parametrize("flag, held", [("--resume", "."), ("--overwrite", "."), ("--eval-only", "eval_only")])
def test_the_front_door_holds_the_folder_that_it_writes_into(flag, held, finished, tmp_path):
    (tmp_path / "mine.yaml").write_text(finished.dump())
    folder = os.path.normpath(os.path.join(finished.OUTPUT_DIR, held))
    before = os.listdir(finished.OUTPUT_DIR)
    args = default_argument_parser().parse_args(["--config-file", str(tmp_path / "mine.yaml"), flag])
    with held_folder(folder, "OUTPUT_DIR"), pytest.raises(ConfigError, match=f"at work in {folder}, process"):
        main(args)
    assert set(before) <= set(os.listdir(finished.OUTPUT_DIR))
    if flag != "--overwrite":  # for the next
        assert main(args) == 0


def test_pre_training_holds_its_working_folder(shapes, tmp_path):
    cfg, output = tiny_config(shapes, tmp_path), str(tmp_path / "weights.pth")
    with held_folder(working_folder(output), "--output"), pytest.raises(ConfigError, match="choose another --output"):
        pretrain(cfg, output)
