"""SPEC 6.4: step 1's RPN and step 2's detector, each with its own convolutions, evaluated as one on stored proposals.

The oracle runs the two networks one after the other by hand, in pixels of the network's input, without any file between
them. Images are shown one and a half times as large as they are, so that the frames differ.
"""

import json
import os
import shutil

from frcnn_alt import get_cfg
from frcnn_alt.data import load_dataset_dicts
from frcnn_alt.engine import ConfigError, StepTrainer, default_argument_parser, main, run_command_line

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data.detection_utils import read_image
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import detector_postprocess
from miniature import run, tiny_config
from paired_detections import differences
from PIL import Image

WIDTH, HEIGHT, LARGER = 112, 84, 1.5
PLAIN = ["TEST.MEAN_BOXES_PER_CLASS", "-1"]  # the cut-off over the data set has tests of its own


@pytest.fixture(scope="module")
def two_steps(shapes, tmp_path_factory):
    """(cfg, folder) of a run that stops after step 2; its detector has learned enough to tell proposals apart."""
    cfg = tiny_config(shapes, tmp_path_factory.mktemp("unshared") / "run")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = int(HEIGHT * LARGER), int(WIDTH * LARGER)
    step = cfg.SCHEDULE.STEP2
    step.MAX_ITER, step.STEPS, step.BASE_LR = 20, (), 0.01
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.0, 0.1
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP50", 200.0, 1.0]]  # of the final network, not of a step
    stock = StepTrainer.train

    def train(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith("step3_rpn"):
            raise KeyboardInterrupt
        stock(trainer)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(StepTrainer, "train", train)
        with pytest.raises(KeyboardInterrupt):
            run(cfg)
    return cfg, cfg.OUTPUT_DIR


def evaluate(folder, *words):
    config = os.path.join(folder, "step2_fast_rcnn", "config.yaml")
    return main(default_argument_parser().parse_args(["--config-file", config, "--eval-only", *PLAIN, *words]))


def detections(folder, name):
    path = os.path.join(folder, "step2_fast_rcnn", "eval_only", "inference", name, "detections.jsonl")
    with open(path) as file:
        return {line["image_id"]: line for line in map(json.loads, file.read().splitlines()[1:])}


def network(folder, step):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(folder, step, "config.yaml"))
    cfg.TEST.MEAN_BOXES_PER_CLASS = -1
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(os.path.join(folder, step, "model_final.pth"))
    return model


@torch.no_grad()
def by_hand(rpn, detector, file_name, most):
    """Detections of one image in its own pixels, best first, and how many proposals there were to choose from."""
    picture = Image.fromarray(read_image(file_name, "BGR"))
    larger = np.asarray(picture.resize((int(WIDTH * LARGER), int(HEIGHT * LARGER)), Image.BILINEAR))
    shown = [{"image": torch.from_numpy(larger.copy()).permute(2, 0, 1).float(), "height": HEIGHT, "width": WIDTH}]
    (proposals,) = rpn(shown)  # told the original size, because the smallest proposal is given in its pixels
    proposals = proposals["proposals"]
    count = len(proposals)
    proposals = proposals[proposals.objectness_logits.argsort(descending=True)[:most]]
    in_network = type(proposals)((larger.shape[0], larger.shape[1]))
    in_network.proposal_boxes = proposals.proposal_boxes.clone()
    in_network.proposal_boxes.scale(LARGER, LARGER)
    in_network.objectness_logits = proposals.objectness_logits
    images = detector.preprocess_image(shown)
    (found,), _ = detector.roi_heads(images, detector.backbone(images.tensor), [in_network])
    found = detector_postprocess(found, HEIGHT, WIDTH)
    return found[found.scores.argsort(descending=True)], count


@pytest.mark.parametrize("most", [2000, 300, 9])
def test_proposals_by_file_give_what_the_two_networks_give_one_after_the_other(most, two_steps):
    cfg, folder = two_steps
    assert evaluate(folder, "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", str(most)) == 0
    name = cfg.DATASETS.TEST[0]
    rpn, detector = network(folder, "step1_rpn"), network(folder, "step2_fast_rcnn")
    assert not torch.equal(rpn.backbone.conv1.weight, detector.backbone.conv1.weight)  # nothing is shared
    files, dicts = detections(folder, name), load_dataset_dicts(name)
    assert len(files) == len(dicts) > 0
    found_any, cut = 0, 0
    for image in dicts:
        wanted, count = by_hand(rpn, detector, image["file_name"], most)
        assert len(wanted) < 100  # a file holds no more of an image
        line = files[image["image_id"]]
        found = [np.array(line[key]) for key in ("boxes", "scores", "labels")]
        expected = [tensor.cpu().numpy() for tensor in (wanted.pred_boxes.tensor, wanted.scores, wanted.pred_classes)]
        of_boxes, of_scores = differences(found, expected, pixel=(0, 0))
        assert of_boxes < 0.01 and of_scores < 1e-5  # files hold hundredths of a pixel
        found_any += len(wanted)
        cut += count > most
    assert found_any > len(dicts)
    assert cut == (len(dicts) if most <= 300 else 0)  # the limit is seen to act


def test_without_a_limit_of_ones_own_up_to_2000_are_used(two_steps):
    """As the MATLAB release evaluates step 2 (SPEC 6.2)."""
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(two_steps[1], "step2_fast_rcnn", "config.yaml"))
    assert cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST == 2000
    assert [os.path.basename(file) for file in cfg.DATASETS.PROPOSAL_FILES_TEST] == list(two_steps[0].DATASETS.TEST)


def test_an_explicit_network_and_a_step_of_its_own_rpn(two_steps, capsys):
    """The command as the documentation has it; a step that proposes is measured by recall."""
    _, folder = two_steps
    weights = os.path.join(folder, "step2_fast_rcnn", "model_final.pth")
    assert evaluate(folder, "MODEL.WEIGHTS", weights) == 0
    assert "AP50" in capsys.readouterr().out
    config = os.path.join(folder, "step1_rpn", "config.yaml")
    assert main(default_argument_parser().parse_args(["--config-file", config, "--eval-only", *PLAIN])) == 0
    assert "recall50@300" in capsys.readouterr().out


def test_a_moved_run_is_evaluated_where_it_is(two_steps, tmp_path, monkeypatch):
    cfg, folder = two_steps
    evaluate(folder)
    before = detections(folder, cfg.DATASETS.TEST[0])
    moved = str(tmp_path / "elsewhere")
    shutil.copytree(folder, moved)
    shutil.rmtree(os.path.join(moved, "step2_fast_rcnn", "eval_only"))
    monkeypatch.chdir(tmp_path)
    os.rename(folder, f"{folder}.hidden")  # what the config names is no longer there
    try:
        assert evaluate(moved) == 0
        assert detections(moved, cfg.DATASETS.TEST[0]) == before
        assert not os.path.exists(folder)
    finally:
        os.rename(f"{folder}.hidden", folder)


def test_proposals_given_by_hand_are_not_looked_for_in_the_moved_run(two_steps, tmp_path):
    cfg, folder = two_steps
    own = str(tmp_path / "own")
    with pytest.raises(ConfigError, match=f"no proposal set at {own}"):
        evaluate(folder, "DATASETS.PROPOSAL_FILES_TEST", f"('{own}',)")


def test_a_missing_set_is_one_message_before_any_network_is_built(two_steps, tmp_path, monkeypatch, capsys):
    _, folder = two_steps

    def built(cfg):
        raise AssertionError("a network was built")

    monkeypatch.setattr("frcnn_alt.engine.command_line.build_model", built)
    config = os.path.join(folder, "step2_fast_rcnn", "config.yaml")
    words = ["--config-file", config, "--eval-only", "DATASETS.PROPOSAL_FILES_TEST", f"('{tmp_path}',)"]
    assert run_command_line(main, default_argument_parser().parse_args(words)) == 2
    printed = capsys.readouterr().err
    assert "error: DATASETS.PROPOSAL_FILES_TEST, for " in printed and str(tmp_path) in printed
