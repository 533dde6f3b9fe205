"""tools/benchmark_parts.py: what it measures, writes and says, for one config and for several, and what it refuses."""

import json
from pathlib import Path

from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine.command_line import run_command_line
from frcnn_alt.evaluation import PARTS

import pytest
import torch
from detectron2.modeling import build_model
from proposal_sets import write
from random_detector import detector_config
from scripts import load_script
from stock_rcnns import write_stock_yaml

ROOT = Path(__file__).resolve().parents[2]
ZF = str(ROOT / "configs" / "zf_4step.yaml")
OVERLAYS = ROOT / "configs" / "overlays"
SHORT = ["--images", "2", "--warm-up", "1", "--repetitions", "1"]
NOISE = ["--random-weights", "--image-size", "60x90"]
NARROW = ["MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.06", "MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.DEVICE", "cpu"]
NARROW += ["INPUT.MIN_SIZE_TEST", "84", "MODEL.RPN.POST_NMS_TOPK_TEST", "30"]
SEGMENTER = ["MODEL.META_ARCHITECTURE", "SemanticSegmentor", "MODEL.SEM_SEG_HEAD.IN_FEATURES", "['conv5']"]


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/benchmark_parts.py")


@pytest.fixture
def benchmark(tool, capsys, tmp_path, own_catalogs, monkeypatch):
    """A function that runs the tool and returns (exit status, what it printed, the systems of parts.json or None)."""
    monkeypatch.chdir(tmp_path)

    def run(*words, opts=()):
        output = tmp_path / "measured"
        command = [*SHORT, "--output", str(output), *map(str, words), *NARROW, *map(str, opts)]
        status = run_command_line(tool.run, tool.parse_arguments(command))
        printed = capsys.readouterr()
        systems = json.loads((output / "parts.json").read_text())["systems"] if output.exists() else None
        return status, printed.out + printed.err, systems

    return run


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tiny"
    make_shapes(str(folder), seed=1, num_trainval=2, num_test=3, size=(112, 84))
    return folder


def test_noise_images_and_random_weights(benchmark, tmp_path):
    status, printed, (system,) = benchmark("--config-file", ZF, *NOISE, "--paper-row", "ZF RPN+FRCN")
    assert status == 0
    assert (system["name"], system["config"], system["weights"], system["device"]) == ("zf_4step", ZF, "random", "cpu")
    assert (system["images"], system["repetitions"]) == (2, 1) and 0 < system["regions"] <= 30
    assert system["images_from"] == "noise of 60x90, made on the spot" and system["images_from"] in printed
    assert all(system["milliseconds"][part] > 0 for part in (*PARTS, "total", "whole"))
    lower, upper = system["spread"]["conv"]
    assert lower <= system["milliseconds"]["conv"] <= upper
    assert "Random weights" in printed and "K40: ZF" in printed and "K40: VGG" not in printed
    written = json.loads((tmp_path / "measured" / "parts.json").read_text())
    assert written["machine"]["threads"] == torch.get_num_threads() and written["versions"]["torch"]
    assert {"cpu", "gpu", "load_before", "load_after"} < set(written["machine"])
    assert "K40: ZF" in (tmp_path / "measured" / "parts.md").read_text()
    assert (tmp_path / "measured" / "parts.png").read_bytes().startswith(b"\x89PNG")


def test_several_systems_each_with_overlays_of_its_own(benchmark, tmp_path):
    stock = write_stock_yaml(tmp_path / "stock.yaml", "faster_rcnn_R_50_FPN")
    fast_rcnn, unshared = (f"{ZF},{OVERLAYS / name}.yaml" for name in ("fast_rcnn", "unshared"))
    files = [word for file in (ZF, fast_rcnn, unshared, stock) for word in ("--config-file", file)]
    names = [word for name in ("RPN+FRCN", "SS+FRCN", "unshared", "stock") for word in ("--name", name)]
    boxes = ["DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", 50]
    status, printed, systems = benchmark(*files, *names, *NOISE, "--proposal-time", 1510, opts=boxes)
    assert status == 0
    ours, given, unshared, stock = systems
    assert [system["name"] for system in systems] == ["RPN+FRCN", "SS+FRCN", "unshared", "stock"]
    assert given["milliseconds"]["proposals"] == 1510 < given["milliseconds"]["total"]
    assert (given["regions"], given["proposals_from"]) == (50, "random boxes")
    assert "SS+FRCN is given its proposals (random boxes)" in printed
    assert given["config"] == f"{ZF} + {OVERLAYS / 'fast_rcnn.yaml'}"
    assert all(system["proposals_from"] is None for system in (ours, unshared, stock))
    assert 0 < ours["milliseconds"]["proposals"] < 1510


def test_weights_and_images_of_the_config(benchmark, shapes, tmp_path):
    """A trained network on its own test set: the first images of it, and nothing to apologise for."""
    data = ["DATASETS.VOC_LAYOUT.ROOT", shapes]
    cfg = detector_config("zf_4step.yaml", "paper", width=0.06, fc_dim=16)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 4  # of the shapes
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "whole.pth")
    status, printed, (system,) = benchmark("--config-file", ZF, opts=[*data, "MODEL.WEIGHTS", "whole.pth"])
    assert status == 0, printed
    assert (system["images_from"], system["images"]) == ("the first of tiny_test", 2)
    assert system["weights"] == "whole.pth" and "Random weights" not in printed

    torch.save({"model": {"backbone.conv1.bias": torch.zeros(6)}}, tmp_path / "part.pth")
    status, printed, _ = benchmark("--config-file", ZF, opts=[*data, "MODEL.WEIGHTS", "part.pth"])
    assert status == 2 and "part.pth is no network of this config" in printed and "--random-weights" in printed


def test_stored_proposals_of_the_test_set(benchmark, shapes, tmp_path):
    boxes = [[4, 4, 60, 60], [10, 10, 90, 70], [0, 0, 30, 30]]
    images = {f"test_{number:05d}": (boxes, [3, 2, 1]) for number in range(3)}
    write(str(tmp_path / "set"), images, "tiny_test")
    overlay = ["--overlay", OVERLAYS / "fast_rcnn.yaml"]
    data = ["DATASETS.VOC_LAYOUT.ROOT", shapes]
    files = ["DATASETS.PROPOSAL_FILES_TEST", f"('{tmp_path / 'set'}',)"]
    words = ["--config-file", ZF, *overlay, "--random-weights"]
    status, printed, (system,) = benchmark(*words, opts=[*data, *files])
    assert status == 0, printed
    assert (system["regions"], system["proposals_from"]) == (3, str(tmp_path / "set"))
    assert system["milliseconds"]["proposals"] is None and "the time to make them is not in the figures" in printed

    status, printed, _ = benchmark(*words, opts=data)
    assert status == 2 and "PROPOSAL_FILES_TEST" in printed and "random boxes" in printed


def test_images_of_a_folder_need_no_data_set(benchmark, shapes):
    gone = ["DATASETS.VOC_LAYOUT.ROOT", "gone"]
    words = ["--config-file", ZF, "--random-weights", "--image-folder", shapes / "JPEGImages"]
    status, printed, (system,) = benchmark(*words, opts=gone)
    assert status == 0, printed
    assert (system["images"], system["images_from"]) == (2, f"the first of {shapes / 'JPEGImages'}")


@pytest.mark.parametrize(
    "words, opts, messages",
    [
        (["--image-size", "60x90"], [], ["zf_4step: MODEL.WEIGHTS 'datasets/pretrained/", "--random-weights"]),
        (["--image-size", "60x90"], ["MODEL.WEIGHTS", ""], ["MODEL.WEIGHTS ''", "--random-weights"]),
        (["--random-weights"], [], ["voc_2007_test", "--image-folder", "--image-size"]),
        (["--random-weights"], ["DATASETS.TEST", "()"], ["DATASETS.TEST is empty", "--image-size"]),
        (["--random-weights"], ["DATASETS.VOC_LAYOUT.ROOT", "gone"], ["gone", "--image-folder", "--image-size"]),
        (["--random-weights", "--image-folder", "gone"], [], ["gone is not a folder"]),
        ([*NOISE, "--config-file", ZF], [], ["zf_4step, zf_4step", "--name"]),
        ([*NOISE, "--name", "a", "--name", "b"], [], ["--name is given 2 times for 1"]),
        ([*NOISE, "--proposal-time", "1510"], [], ["--proposal-time", "make their own"]),
        ([*NOISE, "--overlay", "gone.yaml"], [], ["gone.yaml"]),
        (NOISE, ["MODEL.RPM.NMS", "1"], ["no config key MODEL.RPM.NMS"]),
        (NOISE, ["MODEL.BACKBONE.NAME", "build_zg_backbone"], ["build_zg_backbone", "not registered"]),
        (NOISE, SEGMENTER, ["SemanticSegmentor is no R-CNN"]),
        (NOISE, SEGMENTER[:2], ["cannot be built: ValueError: SemSegFPNHead"]),
        ([*NOISE, "--import", "gone_module"], [], ["--import gone_module"]),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(benchmark, words, opts, messages):
    status, printed, systems = benchmark("--config-file", ZF, *words, opts=opts)
    assert status == 2 and printed.count("error:") == 1 and systems is None
    for message in messages:
        assert message in printed


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--config-file", ZF, "--image-size", "600"],
        ["--config-file", ZF, "--image-size", "600x0"],
        ["--config-file", ZF, "--images", "0"],
        ["--config-file", ZF, "--repetitions", "-1"],
        ["--config-file", ZF, "--proposal-time", "-3"],
        ["--config-file", ZF, "--paper-row", "VGG"],
        ["--config-file", ZF, "--image-size", "60x90", "--image-folder", "."],
    ],
)
def test_words_that_are_not_understood(tool, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        tool.parse_arguments(words)
    assert stopped.value.code == 2 and "error:" in capsys.readouterr().err
