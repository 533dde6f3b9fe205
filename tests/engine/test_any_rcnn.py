"""The four steps over detectron2's own R-CNN configs, which are not edited, and over somebody else's backbone."""

import json
import os
from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import hash_tensors, read_checkpoint, select_components
from frcnn_alt.engine import ConfigError, StepTrainer, default_argument_parser, main

import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from miniature import STEPS, tiny_config, weights_of
from stock_rcnns import STOCK, write_caffe2_weights, write_coco_with_masks, write_stock_yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = str(ROOT / "configs" / "overlays" / "four_step.yaml")


@pytest.fixture(scope="module")
def data(shapes, tmp_path_factory):
    """The keys of a COCO json with masks, for training and test."""
    folder = tmp_path_factory.mktemp("coco")
    tiny_config(shapes, folder / "unused")  # registers the data sets
    images = os.path.join(shapes, "JPEGImages")
    words = []
    for split, name in (("TRAIN", "tiny_shapes_trainval"), ("TEST", "tiny_shapes_test")):
        words += [f"DATASETS.COCO_JSON.{split}_JSON", write_coco_with_masks(folder, name, images)]
        words += [f"DATASETS.COCO_JSON.{split}_IMAGES", images]
    return words


def arguments(yaml_file, folder, *words, flags=()):
    command = ["--config-file", str(yaml_file), "--overlay", OVERLAY, *flags, "OUTPUT_DIR", str(folder)]
    return default_argument_parser().parse_args([*command, *words])


def manifest_of(folder):
    with open(os.path.join(folder, "manifest.json")) as file:
        return json.load(file)


def watched(monkeypatch):
    """Two dictionaries that will hold, by step: the names of the parameters in its optimizer, and whether features of
    its backbone were ever part of a graph.
    """
    names, has_graph, stock = {}, {}, StepTrainer.train

    def train(trainer):
        step, model = os.path.basename(trainer.cfg.OUTPUT_DIR), trainer.unwrapped_model
        of = {parameter: name for name, parameter in model.named_parameters()}
        names[step] = {of[p] for group in trainer._trainer.optimizer.param_groups for p in group["params"]}

        def look(module, inputs, features):
            if module.training:
                has_graph[step] = has_graph.get(step, False) or any(f.requires_grad for f in features.values())

        model.backbone.register_forward_hook(look)
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "train", train)
    return names, has_graph


@pytest.mark.parametrize("name", list(STOCK))
def test_four_steps_over_a_stock_config(name, data, tmp_path, monkeypatch):
    yaml_file = write_stock_yaml(tmp_path / f"{name}.yaml", name)
    before = yaml_file.read_text()
    cfg = get_cfg()
    cfg.merge_from_file(str(yaml_file))
    resnet = write_caffe2_weights(cfg, tmp_path / "R-50.pkl")
    words = ["MODEL.WEIGHTS", str(tmp_path / "R-50.pkl"), *data]
    assert main(arguments(yaml_file, tmp_path / "run", *words, flags=["--dry-run"])) == 0
    in_optimizer, has_graph = watched(monkeypatch)
    assert main(arguments(yaml_file, tmp_path / "run", *words)) == 0
    assert yaml_file.read_text() == before

    states = {step: weights_of(tmp_path / "run", step) for step in STEPS}
    backbones = {step: hash_tensors(select_components(state, ["backbone"])) for step, state in states.items()}
    assert backbones["step2_fast_rcnn"] == backbones["step3_rpn"] == backbones["step4_fast_rcnn"]
    assert backbones["step1_rpn"] != backbones["step2_fast_rcnn"]
    assert {name.split(".")[0] for name in in_optimizer["step3_rpn"]} == {"proposal_generator"}
    assert {name.split(".")[0] for name in in_optimizer["step4_fast_rcnn"]} == {"roi_heads"}
    assert any(name.startswith("backbone.") for name in in_optimizer["step2_fast_rcnn"])
    assert [has_graph[step] for step in STEPS] == [True, True, False, False]
    if "FPN" in name:  # its own layers are part of what is shared
        assert any("fpn_lateral" in n for n in in_optimizer["step1_rpn"])
        assert all(not n.startswith("backbone.") for n in in_optimizer["step4_fast_rcnn"])

    # What is frozen from the input on is still the file's; detectron2 froze it, in both first steps.
    prefix = "backbone.bottom_up." if "FPN" in name else "backbone."
    for step in ("step1_rpn", "step2_fast_rcnn"):
        for layer in ("stem.conv1.weight", "res2.0.conv2.weight", "res2.1.conv1.norm.bias"):
            assert torch.equal(states[step][prefix + layer], torch.from_numpy(resnet[layer]))

    with open(tmp_path / "run" / "results.json") as file:
        results = json.load(file)
    assert "AP50" in results["bbox"] and ("segm" in results) == ("mask" in name)
    for entry in manifest_of(tmp_path / "run")["steps"]:
        assert entry["frozen_hash"]["before"] == entry["frozen_hash"]["after"]
        assert (entry["max_iter"], entry["ims_per_batch"], entry["base_lr"]) == (3, 2, 0.002)  # the config's SOLVER

    final = get_cfg()
    final.merge_from_file(str(tmp_path / "run" / "config.yaml"))
    image = read_image(os.path.join(data[3], "test_00000.jpg"), "BGR")
    assert ("pred_masks" in DefaultPredictor(final)(image)["instances"].get_fields()) == ("mask" in name)


def test_heads_of_c4_start_from_the_file_too(data, tmp_path, monkeypatch):
    """res5 lies in the RoI heads of C4, under another name than in the file; step 2 begins with it."""
    yaml_file = write_stock_yaml(tmp_path / "c4.yaml", "faster_rcnn_R_50_C4")
    cfg = get_cfg()
    cfg.merge_from_file(str(yaml_file))
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]  # the file has all of the network
    resnet = write_caffe2_weights(cfg, tmp_path / "R-50.pkl")
    began, stock = {}, StepTrainer.train

    def train(trainer):
        step = os.path.basename(trainer.cfg.OUTPUT_DIR)
        began[step] = {name: value.clone() for name, value in trainer.unwrapped_model.state_dict().items()}
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "train", train)
    words = ["MODEL.WEIGHTS", str(tmp_path / "R-50.pkl"), *data]
    assert main(arguments(yaml_file, tmp_path / "run", *words, flags=["--steps", "1-2"])) == 0
    for step, name, layer in (
        ("step1_rpn", "backbone.res4.3.conv2.weight", "res4.3.conv2.weight"),
        ("step2_fast_rcnn", "backbone.res4.3.conv2.weight", "res4.3.conv2.weight"),
        ("step2_fast_rcnn", "roi_heads.res5.2.conv3.weight", "res5.2.conv3.weight"),
        ("step2_fast_rcnn", "roi_heads.res5.0.shortcut.norm.bias", "res5.0.shortcut.norm.bias"),
    ):
        assert torch.equal(began[step][name], torch.from_numpy(resnet[layer]))


def test_a_file_with_guessed_names_of_another_width_is_refused(data, tmp_path):
    """detectron2 would leave its tensors out with a warning, and train from random ones."""
    yaml_file = write_stock_yaml(tmp_path / "fpn.yaml", "faster_rcnn_R_50_FPN")
    cfg = get_cfg()
    cfg.merge_from_file(str(yaml_file))
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS //= 2
    write_caffe2_weights(cfg, tmp_path / "R-50.pkl")
    with pytest.raises(ConfigError, match=r"step1_rpn: backbone.bottom_up.*has shape.*in MODEL.WEIGHTS .*R-50.pkl"):
        main(arguments(yaml_file, tmp_path / "run", "MODEL.WEIGHTS", str(tmp_path / "R-50.pkl"), *data))


def test_weights_of_another_architecture_are_refused(data, tmp_path):
    yaml_file = write_stock_yaml(tmp_path / "fpn.yaml", "faster_rcnn_R_50_FPN")
    torch.save({"model": {"backbone.conv1_1.weight": torch.zeros(64, 3, 3, 3)}}, tmp_path / "vgg.pth")
    with pytest.raises(ConfigError, match="step1_rpn: .*vgg.pth holds no tensor of backbone"):
        main(arguments(yaml_file, tmp_path / "run", "MODEL.WEIGHTS", str(tmp_path / "vgg.pth"), *data))


def test_batch_norm_of_a_frozen_backbone_does_not_move(data, tmp_path):
    """Trained in steps 1 and 2, where its statistics move too; still in 3 and 4, which the manifest's hashes prove."""
    resnets = {**STOCK["faster_rcnn_R_50_C4"]["RESNETS"], "NORM": "BN"}
    yaml_file = write_stock_yaml(tmp_path / "bn.yaml", "faster_rcnn_R_50_C4", RESNETS=resnets, WEIGHTS="")
    assert main(arguments(yaml_file, tmp_path / "run", *data)) == 0
    states = [weights_of(tmp_path / "run", step) for step in STEPS]
    key = "backbone.res4.0.conv1.norm.running_mean"
    assert states[1][key].abs().sum() > 0
    assert torch.equal(states[1][key], states[2][key]) and torch.equal(states[1][key], states[3][key])


MY_BACKBONE = """
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn


@BACKBONE_REGISTRY.register()
class OneLargeConvolution(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self.only = nn.Conv2d(input_shape.channels, 6, 9, stride=8, padding=4)

    def output_shape(self):
        return {"only": ShapeSpec(channels=6, stride=8)}

    def forward(self, x):
        return {"only": self.only(x)}
"""


def test_a_backbone_of_somebody_elses_package(data, tmp_path, monkeypatch):
    """Registered by a module that the command line names; nothing of this package is."""
    (tmp_path / "my_package_for_this_test.py").write_text(MY_BACKBONE)
    monkeypatch.chdir(tmp_path)
    yaml_file = write_stock_yaml(
        tmp_path / "mine.yaml",
        "faster_rcnn_R_50_FPN",
        WEIGHTS="",
        BACKBONE={"NAME": "OneLargeConvolution"},
        ANCHOR_GENERATOR={"SIZES": [[16, 32, 64]]},
        RPN={"IN_FEATURES": ["only"]},
        ROI_HEADS={"NAME": "StandardROIHeads", "IN_FEATURES": ["only"], "BATCH_SIZE_PER_IMAGE": 16},
    )
    with pytest.raises(ConfigError, match="--import my_other_package: there is no such module"):
        main(arguments(yaml_file, tmp_path / "run", *data, flags=["--import", "my_other_package"]))
    assert main(arguments(yaml_file, tmp_path / "run", *data, flags=["--import", "my_package_for_this_test"])) == 0
    two, four = (weights_of(tmp_path / "run", step) for step in ("step2_fast_rcnn", "step4_fast_rcnn"))
    assert torch.equal(two["backbone.only.weight"], four["backbone.only.weight"])
    assert read_checkpoint(str(tmp_path / "run" / "model_final.pth"))["model"].keys() >= {"backbone.only.weight"}


def test_unshared_and_joint_over_a_stock_config(data, tmp_path):
    yaml_file = write_stock_yaml(tmp_path / "fpn.yaml", "faster_rcnn_R_50_FPN", WEIGHTS="")
    for schedule in ("unshared", "joint"):
        assert main(arguments(yaml_file, tmp_path / schedule, *data, "SCHEDULE.NAME", schedule)) == 0
        with open(tmp_path / schedule / "results.json") as file:
            assert "AP50" in json.load(file)["bbox"]
