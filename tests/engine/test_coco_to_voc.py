"""From a detector of many classes to data of some of them (Table 12), in miniature: as it is, and trained further.

Four classes of generated shapes stand for COCO's 80, "ring" and "disc", in this order, for VOC's 20.
"""

import json
import re
import shutil
from pathlib import Path

from frcnn_alt.checkpointing import load_whole_network, pixels_of_config, read_checkpoint
from frcnn_alt.data import load_dataset_dicts
from frcnn_alt.data.shapes import CLASSES
from frcnn_alt.engine import AlternatingTrainer, default_argument_parser, main
from frcnn_alt.engine.assemble import final_config
from frcnn_alt.engine.convert import convert_weights

import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from miniature import STEPS, run, tiny_config, weights_of
from paired_detections import differences

KEPT = ("ring", "disc")
PLACES = [CLASSES.index(name) for name in KEPT]
PREDICTOR = "roi_heads.box_predictor"


@pytest.fixture(scope="module")
def fewer_shapes(shapes, tmp_path_factory):
    """The generated images with the objects of the two classes alone."""
    root = tmp_path_factory.mktemp("fewer") / "fewer_shapes"
    shutil.copytree(shapes, root)
    (root / "CLASSES.txt").write_text("".join(f"{name}\n" for name in KEPT))
    kept = re.compile(rf"<name>({'|'.join(KEPT)})</name>")
    objects = re.compile(r"<object>.*?</object>", re.DOTALL)
    for path in (root / "Annotations").glob("*.xml"):
        path.write_text(objects.sub(lambda found: found[0] if kept.search(found[0]) else "", path.read_text()))
    return str(root)


@pytest.fixture
def detector(whole):
    return f"{whole.OUTPUT_DIR}/model_final.pth"


@pytest.fixture
def config(fewer_shapes, tmp_path):
    return tiny_config(fewer_shapes, tmp_path / "run", exact=True)


def detections_in(folder):
    (file,) = Path(folder).glob("inference/*/detections.jsonl")
    _, *images = map(json.loads, file.read_text().splitlines())
    return {image["image_id"]: (image["boxes"], image["scores"], image["labels"]) for image in images}


def test_the_detector_as_it_is(whole, detector, config, tmp_path):
    """It finds what the whole detector does when no logit of another class can have a share of the probabilities."""
    assert config.MODEL.ROI_HEADS.NUM_CLASSES == 2 and len(CLASSES) == 4
    weights = str(tmp_path / "two_classes.pth")
    convert_weights(config, [detector], weights, classes=config.DATASETS.TEST[0])
    (tmp_path / "config.yaml").write_text(config.dump())
    words = ["--config-file", str(tmp_path / "config.yaml"), "--eval-only", "MODEL.WEIGHTS", weights]
    words += ["TEST.MEAN_BOXES_PER_CLASS", "-1"]  # no cut-off that depends on all of the images
    assert main(default_argument_parser().parse_args(words)) == 0
    results = json.loads((tmp_path / "run" / "eval_only" / "results.json").read_text())["bbox"]
    assert {name for name in results if name.startswith("AP50-")} == {"AP50-ring", "AP50-disc"}

    predictor = DefaultPredictor(final_config(whole, detector))
    with torch.no_grad():
        others = [label for label in range(len(CLASSES)) if label not in PLACES]
        predictor.model.roi_heads.box_predictor.cls_score.bias[others] = -1e4
    found = detections_in(tmp_path / "run" / "eval_only")
    compared = 0
    for image in load_dataset_dicts(config.DATASETS.TEST[0]):
        best = predictor(read_image(image["file_name"], "BGR"))["instances"][:100]
        boxes, scores = best.pred_boxes.tensor.double().numpy(), best.scores.double().numpy()
        labels = torch.tensor([PLACES.index(label) for label in best.pred_classes.tolist()]).numpy()
        ours = [torch.tensor(values).numpy() for values in found[image["image_id"]]]
        of_boxes, of_scores = differences(ours, (boxes, scores, labels), pixel=(1, 1))
        assert of_boxes < 0.0051 and of_scores < 1e-5  # the file has hundredths of a pixel
        compared += len(labels)
    assert compared > 20 and set(labels) == {0, 1}


def test_four_steps_from_it(detector, config):
    """Convolutions, fc6 and fc7 are its; RPN and box predictor are new, of other anchors and classes as they are."""
    config.MODEL.WEIGHTS = detector
    config.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32]]
    for number in range(1, 5):
        config.SCHEDULE[f"STEP{number}"].BASE_LR = 1e-9  # nothing moves, so that the end shows the beginning
    plan = AlternatingTrainer(config).plan()
    assert plan.problems == []
    (remark,) = [remark for remark in plan.remarks if remark.startswith("No step starts from these")]
    layers = [f"proposal_generator.rpn_head.{layer}" for layer in ("conv", "objectness_logits", "anchor_deltas")]
    layers += [f"{PREDICTOR}.{layer}" for layer in ("cls_score", "bbox_pred")]
    assert remark == f"No step starts from these of {detector}: {', '.join(layers)}."
    new = {entry["name"]: [c for c, source in entry["started_from"].items() if source == "new"] for entry in plan.steps}
    assert new == dict(zip(STEPS, [["proposal_generator"], [PREDICTOR], ["proposal_generator"], []]))

    run(config)
    given, (first, second) = read_checkpoint(detector)["model"], (weights_of(config.OUTPUT_DIR, s) for s in STEPS[:2])
    for state, prefixes in ((first, ("backbone.",)), (second, ("backbone.", "roi_heads.box_head."))):
        names = [name for name in given if name.startswith(prefixes)]
        assert len(names) > 5
        assert all(torch.allclose(state[name], given[name], rtol=0, atol=1e-5) for name in names)
    assert first["proposal_generator.rpn_head.objectness_logits.weight"].shape[0] == 2 * 6
    assert second[f"{PREDICTOR}.cls_score.weight"].shape[0] == 3
    new_layer = first["proposal_generator.rpn_head.conv.weight"]  # of the same shape as the detector's
    assert not torch.allclose(new_layer, given["proposal_generator.rpn_head.conv.weight"], rtol=0, atol=1e-3)
    final = read_checkpoint(f"{config.OUTPUT_DIR}/model_final.pth")
    assert final["frcnn_alt"]["classes"] == list(KEPT)


def test_a_step_s_own_file_and_the_unshared_network_can_be_chosen_from(whole, config, tmp_path):
    """A file without RPN, and one whose RPN has a backbone of its own."""
    step = f"{whole.OUTPUT_DIR}/{STEPS[1]}/model_final.pth"
    told = convert_weights(config.clone(), [step], str(tmp_path / "step.pth"), classes=config.DATASETS.TEST[0])
    assert "not found, so they start new: proposal_generator.rpn_head.conv" in told
    names = set(read_checkpoint(step)["model"])
    assert set(read_checkpoint(str(tmp_path / "step.pth"))["model"]) == names

    config.SCHEDULE.NAME = "unshared"
    four = tiny_config(whole.DATASETS.VOC_LAYOUT.ROOT, tmp_path / "unshared", exact=True)
    four.SCHEDULE.NAME = "unshared"
    run(four)
    file, output = str(tmp_path / "unshared" / "model_final.pth"), str(tmp_path / "two_classes.pth")
    told = convert_weights(config, [file], output, classes=config.DATASETS.TEST[0])
    assert "not found, so they start new: nothing" in told and "not used: nothing" in told
    model = build_model(final_config(config, output, "unshared"))
    assert load_whole_network(model, output, pixels_of_config(config)) == []
