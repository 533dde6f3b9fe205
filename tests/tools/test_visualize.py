"""tools/visualize.py: what it draws, where, and what it says when it cannot."""

import os
import re
import sys
from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.saved_batch import save_batch
from frcnn_alt.report.pictures import SCORE_THRESHOLD

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from PIL import Image
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("disc", "star")


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/visualize.py")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """config.yaml and model_final.pth of a tiny untrained network, as a run leaves them, its data gone."""
    folder = tmp_path_factory.mktemp("run")
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "Base-RCNN-ZF.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.06
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(CLASSES)
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32, 64]]
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    cfg.INPUT.MIN_SIZE_TEST = 84
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(folder / "data that is on another machine")
    cfg.DATASETS.VOC_LAYOUT.CLASSES = CLASSES
    torch.manual_seed(5)
    torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml"


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.jpg"):
        Image.fromarray(rng.integers(0, 255, (84, 112, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def visualize(tool, network, tmp_path):
    def run(*arguments):
        fixed = ["--config-file", str(network), "--output", str(tmp_path / "drawn")]
        return tool.visualize(tool.parse_arguments([*fixed, *map(str, arguments)]))

    return run


def predictor_of(tool, network, *arguments):
    fixed = ["--config-file", str(network), "--input", "-", "--output", "-"]
    return DefaultPredictor(tool.build_cfg(tool.parse_arguments([*fixed, *arguments])))


def test_folder_is_drawn(visualize, photographs, tmp_path, capsys):
    assert visualize("--input", photographs, "--confidence-threshold", "0.1") == 0
    assert sorted(os.listdir(tmp_path / "drawn")) == ["a.jpg", "b.jpg"]
    drawn = Image.open(tmp_path / "drawn" / "a.jpg")
    assert max(drawn.size) == 800 and drawn.width / drawn.height == pytest.approx(112 / 84, abs=0.01)
    assert "drew 2 of 2 images" in capsys.readouterr().out


def test_draws_what_the_network_says_above_the_threshold(tool, network, photographs):
    image = tool.read_image(str(photographs / "a.jpg"), format="BGR")
    prediction = predictor_of(tool, network)(image)
    scores = prediction["instances"].scores
    threshold = float(scores.median())
    boxes = tool.labelled_boxes(prediction, list(CLASSES), threshold)
    assert 0 < len(boxes) == int((scores >= threshold).sum()) < len(scores)
    best = int(scores.argmax())
    name = CLASSES[int(prediction["instances"].pred_classes[best])]
    assert boxes[0].label == f"{name} {float(scores[best]):.2f}"
    assert boxes[0].box == prediction["instances"].pred_boxes.tensor[best].tolist()


def test_detections_below_six_tenths_are_not_drawn(tool, visualize, network, photographs, capsys, monkeypatch):
    """As in the paper's figures and both programs' demonstrations (SPEC 5.4), and in the report's pictures."""
    assert SCORE_THRESHOLD == 0.6
    assert visualize("--input", photographs / "a.jpg") == 0
    assert "a.jpg: 0 detections" in capsys.readouterr().out  # an untrained network is sure of nothing

    found = predictor_of(tool, network)(tool.read_image(str(photographs / "a.jpg"), format="BGR"))["instances"][:4]
    found.scores = torch.tensor([0.7, 0.6001, 0.5999, 0.51])
    monkeypatch.setattr(tool, "build_predictor", lambda cfg: lambda image: {"instances": found})
    assert visualize("--input", photographs / "a.jpg") == 0
    assert "a.jpg: 2 detections" in capsys.readouterr().out


def test_proposals_are_those_of_the_whole_network(tool, network, photographs):
    """An independent way: run the whole network's own RPN on the image at its own size, where no scaling is needed."""
    image = tool.read_image(str(photographs / "b.png"), format="BGR")
    prediction = predictor_of(tool, network, "--proposals", "7")(image)
    drawn = tool.labelled_boxes(prediction, [], 0.6)
    whole = predictor_of(tool, network).model
    with torch.no_grad():
        inputs = [{"image": torch.as_tensor(image.astype("float32").transpose(2, 0, 1)), "height": 84, "width": 112}]
        images = whole.preprocess_image(inputs)
        proposals = whole.proposal_generator(images, whole.backbone(images.tensor), None)[0][0]
    expected = proposals.proposal_boxes.tensor[:7]
    assert len(drawn) == 7
    assert torch.allclose(torch.tensor([box.box for box in drawn]), expected, atol=1e-3)
    assert all(box.label == "" for box in drawn)


def test_proposals_are_in_the_frame_of_the_photograph(tool, network, photographs):
    """The network sees both at the same size; twice the photograph gives twice the coordinates."""
    predictor = predictor_of(tool, network, "--proposals", "5", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "0")
    image = tool.read_image(str(photographs / "b.png"), format="BGR")
    # Each pixel twice in both directions; the resize back to 84 pixels gives nearly the same network input.
    large = image.repeat(2, axis=0).repeat(2, axis=1)
    small_box, large_box = (predictor(i)["proposals"].proposal_boxes.tensor[0] for i in (image, large))
    assert torch.allclose(large_box, 2 * small_box, atol=2.0)


def test_command_line_draws_proposals(visualize, photographs, capsys):
    assert visualize("--input", photographs / "a.jpg", "--proposals", "3") == 0
    assert "a.jpg: 3 proposals" in capsys.readouterr().out


def test_unreadable_images_are_skipped_and_counted(visualize, photographs, tmp_path, capsys):
    (photographs / "broken.jpg").write_text("no photograph")
    assert visualize("--input", photographs) == 1
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert "drew 2 of 3 images" in captured.out and "skipped 1" in captured.out
    assert sorted(os.listdir(tmp_path / "drawn")) == ["a.jpg", "b.jpg"]


def test_equal_names_do_not_overwrite_each_other(visualize, photographs, tmp_path):
    Image.open(photographs / "a.jpg").save(photographs / "a.png")
    assert visualize("--input", photographs) == 0
    assert len(os.listdir(tmp_path / "drawn")) == 3


def test_no_image_found(visualize, tmp_path, tool):
    (tmp_path / "empty").mkdir()
    with pytest.raises(tool.InputError, match="no image found"):
        visualize("--input", tmp_path / "empty")
    with pytest.raises(tool.InputError, match="absent.jpg: there is no such file"):
        visualize("--input", tmp_path / "absent.jpg")


def test_photographs_are_never_overwritten(tool, network, photographs):
    arguments = ["--config-file", str(network), "--input", str(photographs), "--output", f"{photographs}/."]
    with pytest.raises(tool.InputError, match="would overwrite"):
        tool.visualize(tool.parse_arguments(arguments))


def test_missing_weights_are_named(visualize, photographs, tool):
    with pytest.raises(tool.ConfigError, match="MODEL.WEIGHTS 'gone.pth' does not exist"):
        visualize("--input", photographs, "MODEL.WEIGHTS", "gone.pth")


def test_the_trained_network_is_drawn_and_not_its_initial_weights(tool, network, tmp_path):
    """A joint training's config.yaml names what it started from; what it made lies beside, wherever it was moved."""
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "model_final.pth").write_bytes((network.parent / "model_final.pth").read_bytes())
    (tmp_path / "initial.pth").write_bytes((network.parent / "model_final.pth").read_bytes())
    initial = network.read_text().replace(str(network.parent / "model_final.pth"), str(tmp_path / "initial.pth"))
    (moved / "config.yaml").write_text(initial)
    assert "initial.pth" in initial
    fixed = ["--config-file", str(moved / "config.yaml"), "--input", "-", "--output", "-"]
    original = str(network.parent / "model_final.pth")
    chosen = [
        tool.build_cfg(tool.parse_arguments([*fixed, *words])).MODEL.WEIGHTS
        for words in ([], ["MODEL.WEIGHTS", original])
    ]
    assert chosen == [str(moved / "model_final.pth"), original]


def test_a_detector_that_is_given_its_proposals_is_refused(visualize, photographs, tool):
    with pytest.raises(tool.ConfigError, match="config.yaml of the whole run"):
        visualize("--input", photographs, "MODEL.LOAD_PROPOSALS", "True")


def test_a_proposal_network_alone_gives_proposals(visualize, photographs, capsys):
    words = ["MODEL.META_ARCHITECTURE", "FasterRCNNProposalNetwork", "MODEL.RPN.POST_NMS_TOPK_TEST", "4"]
    assert visualize("--input", photographs / "a.jpg", *words) == 0
    assert "a.jpg: 4 proposals" in capsys.readouterr().out


def test_overrides_after_the_input(tool):
    fixed = ["--config-file", "c.yaml", "--output", "out"]
    after_input = tool.parse_arguments([*fixed, "--input", "a.jpg", "b.jpg", "MODEL.DEVICE", "cpu", "SEED", "1"])
    at_the_end = tool.parse_arguments(["--input", "a.jpg", "b.jpg", *fixed, "MODEL.DEVICE", "cpu", "SEED", "1"])
    for args in (after_input, at_the_end):
        assert args.input == ["a.jpg", "b.jpg"] and args.opts == ["MODEL.DEVICE", "cpu", "SEED", "1"]


def test_mistakes_end_without_traceback(tool, network, monkeypatch, capsys, tmp_path):
    arguments = ["--config-file", str(network), "--input", str(tmp_path / "absent"), "--output", str(tmp_path / "x")]
    monkeypatch.setattr(sys, "argv", ["visualize.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        tool.main()
    assert ended.value.code == 2
    assert re.fullmatch("error: --input .*absent: there is no such file or folder.\n", capsys.readouterr().err)


def test_class_names(tool):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("voc_2007_test",)
    assert tool.class_names(cfg)[:2] == ["aeroplane", "bicycle"]
    cfg.DATASETS.VOC_LAYOUT.CLASSES = CLASSES
    assert tool.class_names(cfg) == list(CLASSES)
    cfg.DATASETS.VOC_LAYOUT.CLASSES, cfg.DATASETS.TEST, cfg.MODEL.ROI_HEADS.NUM_CLASSES = (), (), 2
    assert tool.class_names(cfg) == ["class 0", "class 1"]


def test_a_saved_batch_is_drawn_as_the_network_got_it(visualize, tmp_path, capsys):
    """Its colours are in the order of INPUT.FORMAT, BGR; its objects are in the coordinates of its pixels."""
    blue = torch.zeros(3, 84, 112, dtype=torch.uint8)
    blue[0] = 255
    instances = Instances((84, 112), gt_boxes=Boxes(torch.tensor([[20.0, 10.0, 60.0, 50.0]])))
    instances.gt_classes = torch.tensor([1])
    inputs = [{"image": blue, "file_name": "/data/sky.png", "image_id": 7, "instances": instances}]
    path = str(tmp_path / "nonfinite_batch_0000003.pth")
    save_batch(path, inputs, [], {"iteration": 3, "seed": 1, "losses": {"loss_cls": 1.0}, "first_nonfinite": "fc7"})
    assert visualize("--batch", path) == 0
    assert "iteration 3" in capsys.readouterr().out
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "0_sky.jpg").convert("RGB")).astype(int)
    scale = drawn.shape[1] / 112
    assert drawn[-5, -5, 2] > 200 and drawn[-5, -5, 0] < 60
    differs = np.abs(drawn - drawn[-5, -5]).sum(axis=2) > 100
    columns = np.flatnonzero(differs[int(45 * scale)]) / scale  # below the label
    assert abs(columns.min() - 20) < 2 and abs(columns.max() - 60) < 2


def test_a_file_that_is_no_batch(visualize, network, tmp_path):
    with pytest.raises(ConfigError, match="there is no such batch"):
        visualize("--batch", tmp_path / "nothing.pth")
    with pytest.raises(ConfigError, match="model_final.pth is no saved batch"):
        visualize("--batch", network.parent / "model_final.pth")
    (tmp_path / "text.pth").write_text("no")
    with pytest.raises(ConfigError, match="text.pth cannot be read as a saved batch"):
        visualize("--batch", tmp_path / "text.pth")
