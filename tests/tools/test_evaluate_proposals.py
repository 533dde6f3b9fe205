"""tools/evaluate_proposals.py: what it writes, against the oracle, and what it refuses."""

import csv
import json

from frcnn_alt import get_cfg
from frcnn_alt.data import load_dataset_dicts, register_datasets
from frcnn_alt.engine.command_line import run_command_line

import numpy as np
import pytest
from oracles.proposal_recall import covered, maximum_overlaps, one_to_one_overlaps, share
from proposal_sets import write
from scripts import REPOSITORY, load_script

pytestmark = pytest.mark.usefixtures("own_catalogs")

OBJECTS = {
    "a": [("dog", 2, 2, 30, 30), ("cat", 5, 6, 20, 30, 1), ("cat", 61, 11, 180, 130)],
    "b": [("dog", 2, 2, 60, 50), ("cat", 31, 2, 75, 90)],
    "nothing": [],
}


@pytest.fixture
def voc(voc_folder, tmp_path):
    """A function that writes a proposal set of the test images, and the oracle's images of it."""
    folder = voc_folder(OBJECTS, size=(200, 140), splits={"trainval": ["b"], "test": ["a", "b", "nothing"]})
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(folder)
    register_datasets(cfg)

    def make(name, seed, noise, dataset="tiny_test"):
        rng = np.random.default_rng(seed)
        images, scenes = {}, []
        for record in load_dataset_dicts(dataset):
            objects = [a["bbox"] for a in record["annotations"] if not a["difficult"]]
            boxes = np.repeat(np.reshape(objects, (-1, 4)), 4, axis=0)
            boxes = (boxes + rng.normal(scale=noise, size=boxes.shape)).astype(np.float32)
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
            images[record["image_id"]] = boxes, rng.permutation(len(boxes)).astype(np.float32)
            areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in objects]
            scenes.append((boxes.tolist(), images[record["image_id"]][1].tolist(), objects, areas))
        write(tmp_path / name, images, dataset)
        return scenes

    make.root = str(folder)
    return make


@pytest.fixture
def evaluate(voc, tmp_path, capsys):
    """A function that runs the tool and returns (exit status, what it printed)."""
    tool = load_script("tools/evaluate_proposals.py")
    config = ["--config-file", str(REPOSITORY / "configs" / "zf_4step.yaml"), "--output", str(tmp_path / "out")]

    def run(*words):
        words = [*config, *map(str, words), "DATASETS.VOC_LAYOUT.ROOT", voc.root]
        status = run_command_line(tool.run, tool.parse_arguments(words))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("rule, overlaps", [("one_to_one", one_to_one_overlaps), ("maximum", maximum_overlaps)])
def test_every_line_is_the_oracles(voc, evaluate, tmp_path, rule, overlaps):
    scenes = {("RPN", 1): voc("first", 1, 3), ("RPN", 2): voc("second", 2, 4), ("SS", 1): voc("ss", 3, 8)}
    sets = [f"RPN={tmp_path / 'first'}", f"SS={tmp_path / 'ss'}", f"RPN={tmp_path / 'second'}"]
    status, printed = evaluate("--rule", rule, "--limits", "7", "2", *sets)
    assert status == 0
    names = {"all": "", "small": "s", "medium": "m", "large": "l"}
    rows = rows_of(tmp_path / "out" / "recall.csv")
    assert len(rows) == 3 * 2 * 4 * 51
    for row in rows:
        assert (row["data set"], row["rule"]) == ("tiny_test", rule)
        ious = covered(scenes[row["method"], int(row["run"])], int(row["boxes"]), overlaps, names[row["size"]])
        assert float(row["recall"]) == pytest.approx(share(ious, float(row["iou"])), abs=1e-6)
    assert {row["boxes"] for row in rows} == {"2", "7"} and {row["size"] for row in rows} == set(names)
    rows = rows_of(tmp_path / "out" / "average_recall.csv")
    assert len(rows) == 3 * 2 * 4
    for row in rows:
        ious = covered(scenes[row["method"], int(row["run"])], int(row["boxes"]), overlaps, names[row["size"]])
        average = np.mean([share(ious, percent / 100) for percent in range(50, 100, 5)])
        assert (int(row["objects"]), float(row["average recall"])) == (len(ious), pytest.approx(average, abs=1e-6))
    runs = json.loads((tmp_path / "out" / "recall.json").read_text())
    assert [(run["method"], run["run"], run["images"], run["limits"]) for run in runs] == [
        ("RPN", 1, 3, [2, 7]),
        ("RPN", 2, 3, [2, 7]),
        ("SS", 1, 3, [2, 7]),
    ]
    figures = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert figures == sorted(
        ["recall.csv", "average_recall.csv", "recall.json"]
        + [f"recall{rows}.{extension}" for rows in ("", "_by_size") for extension in ("png", "svg")]
    )
    (line,) = [line for line in printed.splitlines() if line.split()[:3] == ["SS", "5", "7"]]
    ious = covered(scenes["SS", 1], 7, overlaps)
    assert [float(word) for word in line.split()[-3:]] == [round(100 * share(ious, t), 1) for t in (0.5, 0.7, 0.9)]
    assert any(line.split()[:3] == ["RPN", "5", "7"] and "±" in line for line in printed.splitlines())


def test_a_size_without_objects_is_nan_and_null(voc, evaluate, tmp_path):
    voc("set", 1, 3, "tiny_trainval")
    assert evaluate(f"RPN={tmp_path / 'set'}", "--split", "train")[0] == 0
    assert {r["recall"] for r in rows_of(tmp_path / "out" / "recall.csv") if r["size"] == "large"} == {"nan"}
    (run,) = json.loads((tmp_path / "out" / "recall.json").read_text())
    assert run["recall"]["large"][0][0] is None and run["average_recall"]["large"] == [None] * 3
    voc("again", 2, 3, "tiny_trainval")
    status, printed = evaluate(f"RPN={tmp_path / 'set'}", f"RPN={tmp_path / 'again'}", "--split", "train")
    assert status == 0 and "±" in printed and " - " in printed


def test_all_sets_that_cannot_be_measured_are_named(voc, evaluate, tmp_path):
    voc("good", 1, 3)
    voc("train", 1, 3, "tiny_trainval")
    write(tmp_path / "foreign", {"a": ([], [])}, "cards_test")
    write(tmp_path / "short", {"a": ([], [])}, "tiny_test")
    names = ("good", "train", "foreign", "short", "absent", "good")
    status, printed = evaluate(*(f"{name} proposals={tmp_path / name}" for name in names))
    assert status == 2 and not (tmp_path / "out").exists()
    lines = printed.removeprefix("error: ").splitlines()
    for line, expected in zip(
        lines,
        [
            "train proposals: .* is of 'tiny_trainval', which is in DATASETS.TRAIN of the config: --split train",
            "foreign proposals: .* is of 'cards_test', but DATASETS.TEST of the config is 'tiny_test'",
            "short proposals: .* lacks 2 of 3 images: b, nothing",
            "absent proposals: no proposal set at ",
            "good proposals: .* is named already, as good proposals",
        ],
    ):
        with pytest.raises(AssertionError, match=expected):
            raise AssertionError(line)
    assert len(lines) == 5


def test_a_set_after_the_overrides(evaluate, capsys):
    with pytest.raises(SystemExit):
        evaluate("A=a", "SEED", "3", "B=b")
    assert "B=b stands where a KEY is expected" in capsys.readouterr().err


def test_words_that_name_no_set_and_numbers_that_are_none(evaluate, tmp_path):
    for words in ([], ["=folder"], ["RPN="], ["output/step1_rpn"]):
        status, printed = evaluate(*words)
        assert status == 2 and "Name proposal sets as METHOD=FOLDER" in printed
    for limits in (["0"], ["many"]):
        status, printed = evaluate("RPN=folder", "--limits", *limits)
        assert status == 2 and "error: --limits takes numbers of proposals" in printed
