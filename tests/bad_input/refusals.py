"""How a command that is given bad input has to end: at once, with one error that names the culprit and the mend.

Without a traceback, and with the folders that it would have written to as they were.
"""

import hashlib
from pathlib import Path
from typing import Callable, Dict, Iterable, Sequence

from frcnn_alt.engine import default_argument_parser, main
from frcnn_alt.engine.failures import guarded
from frcnn_alt.engine.folder_lock import LOCK_FILE

import pytest
from scripts import REPOSITORY

# What a refused command may leave: the list of what is malformed, and what it said.
MAY_BE_LEFT = ("malformed.txt", "log.txt")

# Where it does not matter, a plan of one network, which takes a quarter of the time.
ONE_STEP = ("SCHEDULE.NAME", "rpn", "MODEL.WEIGHTS", "")

TINY_CONFIG = """_BASE_: "{base}"
MODEL:
  BACKBONE: {{WIDTH_MULTIPLIER: 0.06}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
  ANCHOR_GENERATOR: {{SIZES: [[16, 32, 64]]}}
  PROPOSAL_GENERATOR: {{MIN_SIZE: 4}}
  DEVICE: "cpu"
INPUT: {{MIN_SIZE_TRAIN: [84], MIN_SIZE_TEST: 84}}
DATASETS: {{VOC_LAYOUT: {{ROOT: "{root}"}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SEED: 1
SCHEDULE:
  STEP1: {{MAX_ITER: 1, STEPS: []}}
  STEP2: {{MAX_ITER: 1, STEPS: []}}
  STEP3: {{MAX_ITER: 1, STEPS: []}}
  STEP4: {{MAX_ITER: 1, STEPS: []}}
OUTPUT_DIR: "{output}"
"""


def write_config(path: Path, root: str, output: str) -> str:
    """Write the config of a miniature run over the VOC-layout folder `root`; returns its path."""
    base = REPOSITORY / "configs" / "Base-RCNN-ZF.yaml"
    path.write_text(TINY_CONFIG.format(base=base, root=root, output=output))
    return str(path)


def train_net(config: str, *words: str) -> Callable[[], int]:
    """tools/train_net.py with these words, to be called."""
    return lambda: main(default_argument_parser().parse_args(["--config-file", config, *map(str, words)]))


def tree(folder: Path) -> Dict[str, str]:
    """Every path below `folder`, it included, with a hash of what it holds, but for what may be left."""
    found = {}
    for path in [folder, *folder.rglob("*")] if folder.exists() else []:
        if path.name in MAY_BE_LEFT:
            continue
        # What the lock says is of the last command that held it.
        is_file = path.is_file() and not path.is_symlink() and path.name != LOCK_FILE
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else "no file to compare"
    return found


def has_only_what_may_be_left(folder: Path) -> bool:
    """Whether `folder` was made for the list of what is malformed, or for the log, and for nothing else."""
    folders = [one for one in [folder, *folder.rglob("*")] if one.is_dir()]
    files = [one for one in folder.rglob("*") if not one.is_dir()]
    return all(any(one.iterdir()) for one in folders) and all(file.name in MAY_BE_LEFT for file in files)


def assert_refused(
    command: Callable[[], int],
    parts: Sequence[str],
    outputs: Iterable[Path],
    capfd: pytest.CaptureFixture,
    status: int = 2,
) -> str:
    """Run a command that has to be refused; returns what it said.

    Args:
        command: what `run_command_line` would be given: returns an exit status, or raises.
        parts: of the message: the culprit, and what to do.
        outputs: folders that it would write to.
        capfd: of the test.
        status: exit status.
    """
    outputs = list(outputs)
    before = [tree(folder) for folder in outputs]
    capfd.readouterr()
    try:
        found = guarded(command)
    except SystemExit as error:  # of argparse, which prints its usage and one line
        found = error.code
    printed = capfd.readouterr()
    said = printed.err if status == 2 else printed.out
    assert found == status, f"exit status {found}\n{printed.out[-500:]}\n{printed.err[-2000:]}"
    assert "Traceback" not in printed.out + printed.err
    errors = [line for line in said.splitlines() if line.startswith("error: ") or ": error: " in line]
    if status == 2:
        assert len(errors) == 1, said
    for part in parts:
        assert part in said, f"{part!r} is not in:\n{said}"
    for folder, earlier in zip(outputs, before):
        now = tree(folder)
        if not earlier and now and has_only_what_may_be_left(folder):
            continue
        different = sorted(path for path in {*now, *earlier} if now.get(path) != earlier.get(path))
        assert not different, f"left or changed in {folder}: {different}"
    return said
