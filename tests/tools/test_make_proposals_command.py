"""tools/make_proposals.py as a person uses it: the commands, what is printed for the next one, and mistakes."""

import os
import shlex
import subprocess
import sys

from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import default_argument_parser, main, run_command_line
from frcnn_alt.proposals import ProposalSet

import pytest
from scripts import REPOSITORY, load_script

TINY = [
    *("MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.06", "MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.DEVICE", "cpu"),
    *("INPUT.MIN_SIZE_TRAIN", "(84,)", "INPUT.MIN_SIZE_TEST", "84"),
    *("DATALOADER.NUM_WORKERS", "0", "MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32, 64]]"),
]
CONFIG = str(REPOSITORY / "configs" / "Base-RCNN-ZF.yaml")


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/make_proposals.py")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("data") / "few_shapes")
    make_shapes(root, seed=4, num_trainval=4, num_test=2, size=(112, 84))
    return ["DATASETS.VOC_LAYOUT.ROOT", root]


@pytest.fixture
def make(tool, capsys):
    """A function that runs the tool and returns (exit status, what it printed)."""

    def run(command, *words):
        status = run_command_line(tool.run, tool.parse_arguments([command, "--config-file", CONFIG, *map(str, words)]))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_selective_search_then_a_fast_rcnn_on_what_is_printed(make, shapes, tmp_path, capsys):
    pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")
    command = ["selective_search", "--output", tmp_path / "ss", "--processes", 1, "--smallest-side", 8, *shapes]
    status, printed = make(*command)
    assert status == 0
    keys = shlex.split(printed.strip().splitlines()[-1])
    assert keys[::2] == ["DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PROPOSAL_FILES_TEST"]
    status, again = make(*command)
    assert status == 0 and again.count("finished already") == 2 and shlex.split(again.splitlines()[-1]) == keys
    status, other = make(*command[:-2], "--boxes", 9, *shapes)
    assert status == 2 and "made with boxes 2000 and not 9. --overwrite" in other and "Traceback" not in other

    # The keys are pasted into the next command.
    overlay = str(REPOSITORY / "configs" / "overlays" / "fast_rcnn.yaml")
    words = [*shapes, *TINY, *keys, "OUTPUT_DIR", str(tmp_path / "run")]
    words += ["SCHEDULE.STEP2.MAX_ITER", "3", "SCHEDULE.STEP2.STEPS", "(2,)"]
    flags = ["--config-file", CONFIG, "--overlay", overlay]
    assert main(default_argument_parser().parse_args([*flags, *words, "MODEL.WEIGHTS", ""])) == 0
    assert main(default_argument_parser().parse_args([*flags, "--eval-only", *words])) == 0
    first, second = (tmp_path / "run" / at / "results.json" for at in (".", "eval_only"))
    assert first.is_file() and second.is_file()
    assert '"AP50"' in second.read_text()

    status, printed = make("rpn", "--output", tmp_path / "rpn", "MODEL.LOAD_PROPOSALS", "True", *shapes)
    assert status == 2 and "MODEL.WEIGHTS '' does not exist" in printed


def test_edge_boxes_over_one_split(make, shapes, tmp_path):
    pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")
    words = ["--split", "test", "--boxes", 20, "--processes", 1, "--output", tmp_path / "eb"]
    status, printed = make("edge_boxes", *words, *shapes)
    assert status == 0
    (key, value) = shlex.split(printed.strip().splitlines()[-1])
    assert key == "DATASETS.PROPOSAL_FILES_TEST"
    (folder,) = eval(value)
    proposals = ProposalSet(folder)
    assert max(len(proposals[image][0]) for image in proposals) == 20


def test_import_with_the_file_before_the_flags_and_after(tool):
    for words in (["a.mat", "--output", "o", "SEED", "-1"], ["--output", "o", "a.mat", "SEED", "-1"]):
        flags = ["import", "--format", "matlab_rpn", "--dataset", "d", "--config-file", "c"]
        args = tool.parse_arguments([*flags, *words])
        assert (args.file, args.output, args.opts, args.format) == ("a.mat", "o", ["SEED", "-1"], "matlab_rpn")


@pytest.mark.parametrize(
    "command, words",
    [("import", ["--format", "detectron2", "--dataset", "d", "a.pkl"]), ("rpn", []), ("edge_boxes", [])],
)
def test_every_command_takes_the_common_flags(tool, command, words):
    flags = ["--overlay", "a.yaml", "--overlay", "b.yaml", "--import", "mine", "--output", "o", "--overwrite"]
    args = tool.parse_arguments([command, "--config-file", "c.yaml", *flags, *words, "SEED", "3"])
    assert args.overlay == ["a.yaml", "b.yaml"] and args.modules == ["mine"] and args.overwrite
    assert args.opts == ["SEED", "3"] and args.num_gpus == args.num_machines == 1
    if command == "rpn":
        two = tool.parse_arguments([command, "--config-file", "c.yaml", "--num-gpus", "2", "--output", "o"])
        assert two.num_gpus == 2 and two.dist_url == default_argument_parser().get_default("dist_url")


def test_unknown_flags_and_mistakes(tool, make, shapes, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool.parse_arguments(["rpn", "--config-file", "c.yaml", "--output", "o", "--processes", "2"])
    assert "rpn has no --processes" in capsys.readouterr().err
    status, printed = make("edge_boxes", "--output", tmp_path, "DATASETS.VOC_LAYOUT.ROOT", "/nowhere")
    assert status == 2 and printed.startswith("error: DATASETS.VOC_LAYOUT.ROOT")
    flags = ["--format", "detectron2", "--dataset", "few_shapes_test", "--output", tmp_path]
    status, printed = make("import", *flags, "/nowhere.pkl", *shapes)
    assert status == 2 and ("no proposals at /nowhere.pkl" in printed or "no data set has this name" in printed)


def test_an_interrupted_search_tells_how_to_go_on(tool, make, shapes, tmp_path, monkeypatch):
    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, "make_sets_from_pixels", cut)
    status, printed = make("selective_search", "--output", tmp_path, *shapes)
    assert status == 130 and "what is done is kept, and the same command goes on with it" in printed


def test_the_tool_itself_starts():
    command = [sys.executable, str(REPOSITORY / "tools" / "make_proposals.py"), "--help"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "selective_search" in done.stdout, done.stderr
