"""tools/visualize.py: what it draws, where, and what it says when it cannot."""

import os
import re
import sys

from frcnn_alt import get_cfg
from frcnn_alt.report.pictures import SCORE_THRESHOLD

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from drawing_network import CLASSES
from PIL import Image


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.jpg"):
        Image.fromarray(rng.integers(0, 255, (84, 112, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def predictor_of(visualize_tool, network, *arguments):
    fixed = ["--config-file", str(network), "--input", "-", "--output", "-"]
    return DefaultPredictor(visualize_tool.build_cfg(visualize_tool.parse_arguments([*fixed, *arguments])))


def test_folder_is_drawn(visualize, photographs, tmp_path, capsys):
    assert visualize("--input", photographs, "--confidence-threshold", "0.1") == 0
    assert sorted(os.listdir(tmp_path / "drawn")) == ["a.jpg", "b.jpg"]
    drawn = Image.open(tmp_path / "drawn" / "a.jpg")
    assert max(drawn.size) == 800 and drawn.width / drawn.height == pytest.approx(112 / 84, abs=0.01)
    assert "drew 2 of 2 images" in capsys.readouterr().out


def test_draws_what_the_network_says_above_the_threshold(visualize_tool, network, photographs):
    image = visualize_tool.read_image(str(photographs / "a.jpg"), format="BGR")
    prediction = predictor_of(visualize_tool, network)(image)
    scores = prediction["instances"].scores
    threshold = float(scores.median())
    boxes = visualize_tool.labelled_boxes(prediction, list(CLASSES), threshold)
    assert 0 < len(boxes) == int((scores >= threshold).sum()) < len(scores)
    best = int(scores.argmax())
    name = CLASSES[int(prediction["instances"].pred_classes[best])]
    assert boxes[0].label == f"{name} {float(scores[best]):.2f}"
    assert boxes[0].box == prediction["instances"].pred_boxes.tensor[best].tolist()


def test_detections_below_six_tenths_are_not_drawn(
    visualize_tool, visualize, network, photographs, capsys, monkeypatch
):
    """As in the paper's figures and both programs' demonstrations (SPEC 5.4), and in the report's pictures."""
    assert SCORE_THRESHOLD == 0.6
    assert visualize("--input", photographs / "a.jpg") == 0
    assert "a.jpg: 0 detections" in capsys.readouterr().out  # an untrained network is sure of nothing

    found = predictor_of(visualize_tool, network)(visualize_tool.read_image(str(photographs / "a.jpg"), format="BGR"))[
        "instances"
    ][:4]
    found.scores = torch.tensor([0.7, 0.6001, 0.5999, 0.51])
    monkeypatch.setattr(visualize_tool, "build_predictor", lambda cfg: lambda image: {"instances": found})
    assert visualize("--input", photographs / "a.jpg") == 0
    assert "a.jpg: 2 detections" in capsys.readouterr().out


def test_proposals_are_those_of_the_whole_network(visualize_tool, network, photographs):
    """An independent way: run the whole network's own RPN on the image at its own size, where no scaling is needed."""
    image = visualize_tool.read_image(str(photographs / "b.png"), format="BGR")
    prediction = predictor_of(visualize_tool, network, "--proposals", "7")(image)
    drawn = visualize_tool.labelled_boxes(prediction, [], 0.6)
    whole = predictor_of(visualize_tool, network).model
    with torch.no_grad():
        inputs = [{"image": torch.as_tensor(image.astype("float32").transpose(2, 0, 1)), "height": 84, "width": 112}]
        images = whole.preprocess_image(inputs)
        proposals = whole.proposal_generator(images, whole.backbone(images.tensor), None)[0][0]
    expected = proposals.proposal_boxes.tensor[:7]
    assert len(drawn) == 7
    assert torch.allclose(torch.tensor([box.box for box in drawn]), expected, atol=1e-3)
    assert all(box.label == "" for box in drawn)


def test_proposals_are_in_the_frame_of_the_photograph(visualize_tool, network, photographs):
    """The network sees both at the same size; twice the photograph gives twice the coordinates."""
    predictor = predictor_of(visualize_tool, network, "--proposals", "5", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "0")
    image = visualize_tool.read_image(str(photographs / "b.png"), format="BGR")
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


def test_no_image_found(visualize, tmp_path, visualize_tool):
    (tmp_path / "empty").mkdir()
    with pytest.raises(visualize_tool.InputError, match="no image found"):
        visualize("--input", tmp_path / "empty")
    with pytest.raises(visualize_tool.InputError, match="absent.jpg: there is no such file"):
        visualize("--input", tmp_path / "absent.jpg")


def test_photographs_are_never_overwritten(visualize_tool, network, photographs):
    arguments = ["--config-file", str(network), "--input", str(photographs), "--output", f"{photographs}/."]
    with pytest.raises(visualize_tool.InputError, match="would overwrite"):
        visualize_tool.visualize(visualize_tool.parse_arguments(arguments))


def test_missing_weights_are_named(visualize, photographs, visualize_tool):
    with pytest.raises(visualize_tool.ConfigError, match="MODEL.WEIGHTS 'gone.pth' does not exist"):
        visualize("--input", photographs, "MODEL.WEIGHTS", "gone.pth")


def test_the_trained_network_is_drawn_and_not_its_initial_weights(visualize_tool, network, tmp_path):
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
        visualize_tool.build_cfg(visualize_tool.parse_arguments([*fixed, *words])).MODEL.WEIGHTS
        for words in ([], ["MODEL.WEIGHTS", original])
    ]
    assert chosen == [str(moved / "model_final.pth"), original]


def test_a_detector_that_is_given_its_proposals_is_refused(visualize, photographs, visualize_tool):
    with pytest.raises(visualize_tool.ConfigError, match="config.yaml of the whole run"):
        visualize("--input", photographs, "MODEL.LOAD_PROPOSALS", "True")


def test_a_proposal_network_alone_gives_proposals(visualize, photographs, capsys):
    words = ["MODEL.META_ARCHITECTURE", "FasterRCNNProposalNetwork", "MODEL.RPN.POST_NMS_TOPK_TEST", "4"]
    assert visualize("--input", photographs / "a.jpg", *words) == 0
    assert "a.jpg: 4 proposals" in capsys.readouterr().out


def test_overrides_after_the_input(visualize_tool):
    fixed = ["--config-file", "c.yaml", "--output", "out"]
    after_input = visualize_tool.parse_arguments(
        [*fixed, "--input", "a.jpg", "b.jpg", "MODEL.DEVICE", "cpu", "SEED", "1"]
    )
    at_the_end = visualize_tool.parse_arguments(
        ["--input", "a.jpg", "b.jpg", *fixed, "MODEL.DEVICE", "cpu", "SEED", "1"]
    )
    for args in (after_input, at_the_end):
        assert args.input == ["a.jpg", "b.jpg"] and args.opts == ["MODEL.DEVICE", "cpu", "SEED", "1"]


def test_mistakes_end_without_traceback(visualize_tool, network, monkeypatch, capsys, tmp_path):
    arguments = ["--config-file", str(network), "--input", str(tmp_path / "absent"), "--output", str(tmp_path / "x")]
    monkeypatch.setattr(sys, "argv", ["visualize.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        visualize_tool.main()
    assert ended.value.code == 2
    assert re.fullmatch("error: --input .*absent: there is no such file or folder.\n", capsys.readouterr().err)


def test_class_names(visualize_tool):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("voc_2007_test",)
    assert visualize_tool.class_names(cfg)[:2] == ["aeroplane", "bicycle"]
    cfg.DATASETS.VOC_LAYOUT.CLASSES = CLASSES
    assert visualize_tool.class_names(cfg) == list(CLASSES)
    cfg.DATASETS.VOC_LAYOUT.CLASSES, cfg.DATASETS.TEST, cfg.MODEL.ROI_HEADS.NUM_CLASSES = (), (), 2
    assert visualize_tool.class_names(cfg) == ["class 0", "class 1"]
