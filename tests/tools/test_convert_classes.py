"""tools/convert_weights.py --classes: what it writes and tells, whose detector it takes, and what it refuses."""

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.engine.command_line import run_command_line

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from oracles.caffe_wire import net
from paired_detections import are_same
from random_detector import CONFIGS, caffe_weights, detector_config, picture, randomise
from scripts import load_script

CONFIG = ["--config-file", str(CONFIGS / "zf_4step.yaml")]
NARROW = ["MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.0625", "MODEL.ROI_BOX_HEAD.FC_DIM", "48", "MODEL.DEVICE", "cpu"]
TWELVE_ANCHORS = ["MODEL.ANCHOR_GENERATOR.SIZES", "[[64, 128, 256, 512]]"]
HEIGHT, WIDTH = 200, 260
# COCO's word and place of each of VOC's classes, from 0 on.
COCO_PLACES = [4, 1, 14, 8, 39, 5, 2, 15, 56, 19, 60, 16, 17, 3, 0, 58, 18, 57, 6, 62]


@pytest.fixture
def convert(capsys):
    """A function that runs the tool for VOC's config in miniature and returns (exit status, what it printed)."""
    tool = load_script("tools/convert_weights.py")

    def run(*words, anchors=TWELVE_ANCHORS):
        words = [*CONFIG, *map(str, words), *NARROW, *anchors]
        status = run_command_line(tool.run, tool.parse_arguments(words))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def coco_config(preset="paper"):
    cfg = detector_config("zf_4step.yaml", preset)
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64, 128, 256, 512]]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
    return cfg


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    model = build_model(coco_config()).eval()
    randomise(model, picture(HEIGHT, WIDTH, seed=0), seed=0)
    return model


@pytest.fixture
def coco_file(detector, tmp_path):
    """A detector of COCO's classes as a run of this package leaves it; it does not remember them."""
    pixels = {"input_format": "BGR", "pixel_mean": [102.9801, 115.9465, 122.7717], "pixel_std": [1.0] * 3}
    torch.save({"model": detector.state_dict(), "frcnn_alt": pixels}, tmp_path / "coco.pth")
    return tmp_path / "coco.pth"


def row_of_table(printed, name):
    (line,) = [line for line in printed.splitlines() if line.split()[1:2] == [name]]
    return line.split(maxsplit=3)


def test_cocos_detector_becomes_one_of_voc(tmp_path, convert, coco_file, detector):
    output = tmp_path / "voc.pth"
    status, printed = convert(coco_file, "--classes", "voc", "--from-classes", "coco", "-o", output)
    assert status == 0, printed
    assert row_of_table(printed, "aeroplane") == ["0", "aeroplane", "4", "airplane"]
    assert row_of_table(printed, "tvmonitor") == ["19", "tvmonitor", "62", "tv"]
    assert row_of_table(printed, "(background)") == ["20", "(background)", "80", "(background)"]
    assert "start new: nothing" in printed and "not used: nothing" in printed and "TO MEND" not in printed
    checkpoint = read_checkpoint(str(output))
    assert checkpoint["frcnn_alt"]["classes"][0] == "aeroplane" and len(checkpoint["frcnn_alt"]["classes"]) == 20
    assert checkpoint["frcnn_alt"]["input_format"] == "BGR"
    scores = detector.roi_heads.box_predictor.cls_score.bias[[*COCO_PLACES, 80]]
    assert torch.equal(checkpoint["model"]["roi_heads.box_predictor.cls_score.bias"], scores)


def test_what_was_chosen_once_can_be_chosen_from_again(tmp_path, convert, coco_file, detector):
    """From what the file remembers, with another name for one of the classes, for a config of so many classes."""
    assert convert(coco_file, "--classes", "voc", "--from-classes", "coco", "-o", tmp_path / "voc.pth")[0] == 0
    (tmp_path / "pets.txt").write_text("hound\ncat\n")
    pets = [tmp_path / "voc.pth", "--classes", tmp_path / "pets.txt", "--synonym", "hound=dog"]
    pets += ["-o", tmp_path / "pets.pth"]
    status, printed = convert(*pets)
    assert status == 2 and "(21," in printed and "Give the config of the model" in printed  # VOC's config has 20
    assert not (tmp_path / "pets.pth").exists()
    status, printed = convert(*pets, "DATASETS.TRAIN", "()", "MODEL.ROI_HEADS.NUM_CLASSES", 2)
    assert status == 0 and row_of_table(printed, "hound") == ["0", "hound", "11", "dog"], printed
    bias = read_checkpoint(str(tmp_path / "pets.pth"))["model"]["roi_heads.box_predictor.cls_score.bias"]
    assert torch.equal(bias, detector.roi_heads.box_predictor.cls_score.bias[[16, 15, 80]])


def test_permuted_classes_are_permuted_detections(tmp_path, convert, coco_file):
    """All 80 in reverse: the same boxes and scores, under the other number."""
    names = load_names()
    (tmp_path / "reversed.txt").write_text("".join(f"{name}\n" for name in reversed(names)))
    words = ["--classes", tmp_path / "reversed.txt", "--from-classes", "coco", "-o", tmp_path / "reversed.pth"]
    status, printed = convert(coco_file, *words, "DATASETS.TRAIN", "('coco_2014_train',)")
    assert status == 0, printed
    found = []
    for file in (coco_file, tmp_path / "reversed.pth"):
        cfg = coco_config()
        cfg.MODEL.WEIGHTS, cfg.TEST.DETECTIONS_PER_IMAGE, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = str(file), -1, 20
        cfg.INPUT.MIN_SIZE_TEST = HEIGHT
        instances = DefaultPredictor(cfg)(picture(HEIGHT, WIDTH, seed=1))["instances"]
        boxes, scores = instances.pred_boxes.tensor.numpy(), instances.scores.numpy()
        found.append((boxes, scores, instances.pred_classes.numpy()))
    assert len(found[0][0]) > 100 and len(set(found[0][2])) > 20
    assert are_same((*found[1][:2], 79 - found[1][2]), found[0], pixel=(1, 1))
    assert not are_same(found[1], found[0], pixel=(1, 1))


def load_names():
    from detectron2.data import MetadataCatalog

    return MetadataCatalog.get("coco_2014_train").thing_classes


@pytest.mark.parametrize("preset", ["paper", "modern"])
def test_a_released_detector_of_coco(tmp_path, convert, detector, coco_file, preset):
    """A .caffemodel gives, under either config, what the same detector as a file of this package gives."""
    (tmp_path / "coco.caffemodel").write_bytes(net(caffe_weights(detector, "rpn_conv1")))
    overlay = ["--overlay", CONFIGS / "presets" / f"{preset}.yaml"]
    choice = ["--classes", "voc", "--from-classes", "coco"]
    status, printed = convert(*overlay, tmp_path / "coco.caffemodel", *choice, "-o", tmp_path / "a.pth")
    assert status == 0, printed
    assert row_of_table(printed, "sofa") == ["17", "sofa", "57", "couch"] and "cls_score" in printed
    # Converted first, without a choice, then chosen from under this config.
    coco = ["DATASETS.TRAIN", "('coco_2014_train',)"]
    other = ["--overlay", CONFIGS / "presets" / ("modern.yaml" if preset == "paper" else "paper.yaml")]
    assert convert(*other, tmp_path / "coco.caffemodel", "-o", tmp_path / "whole.pth", *coco)[0] == 0
    assert convert(*overlay, tmp_path / "whole.pth", *choice, "-o", tmp_path / "b.pth")[0] == 0
    one, two = (read_checkpoint(str(tmp_path / name)) for name in ("a.pth", "b.pth"))
    assert one["model"].keys() == two["model"].keys() and one["frcnn_alt"]["classes"] == two["frcnn_alt"]["classes"]
    assert all(torch.equal(tensor, two["model"][name]) for name, tensor in one["model"].items())
    scores = detector.roi_heads.box_predictor.cls_score.weight[[*COCO_PLACES, 80]]
    assert torch.equal(one["model"]["roi_heads.box_predictor.cls_score.weight"], scores)


def test_a_file_of_before_is_told_its_classes(tmp_path, convert, coco_file, detector):
    words = [coco_file, "--from-classes", "coco", "-o", tmp_path / "told.pth", "DATASETS.TRAIN", "('coco_2014_train',)"]
    status, printed = convert(*words)
    assert status == 0 and row_of_table(printed, "person") == ["0", "person", "0", "person"]
    checkpoint = read_checkpoint(str(tmp_path / "told.pth"))
    assert checkpoint["frcnn_alt"]["classes"] == load_names()
    assert all(torch.equal(tensor, checkpoint["model"][name]) for name, tensor in detector.state_dict().items())


@pytest.mark.parametrize(
    "words, message",
    [
        (["--classes", "voc"], "coco.pth does not tell which classes"),
        ([], "--classes keeps the rows of some classes"),
        (["--classes", "vok", "--from-classes", "coco"], "'vok' is no list of classes"),
        (["--classes", "voc", "--from-classes", "voc"], "rows of 80 classes, but 20 names"),
        (["--from-classes", "coco", "--synonym", "a=b"], "name those with --classes"),
        (["--classes", "voc", "--from-classes", "coco", "--synonym", "sofa"], "--synonym 'sofa': it is written"),
        (["--classes", "voc", "--from-classes", "coco", "--synonym", "sofa=settee"], "no class 'settee'"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(tmp_path, convert, coco_file, words, message):
    status, printed = convert(coco_file, *words, "-o", tmp_path / "new.pth")
    assert status == 2 and message in printed and printed.count("error:") == 1, printed
    assert not (tmp_path / "new.pth").exists()


def test_vocs_nine_anchors_are_not_cocos_twelve(tmp_path, convert, coco_file):
    words = [coco_file, "--classes", "voc", "--from-classes", "coco", "-o", tmp_path / "new.pth"]
    status, printed = convert(*words, anchors=[])
    assert status == 2 and "MODEL.ANCHOR_GENERATOR.SIZES" in printed and "objectness_logits" in printed, printed
