"""Keys that pre-training cannot use are named, all of them in one message, before any image is opened."""

from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.pretrain import pretrain
from frcnn_alt.engine.pretrain_checks import pretraining_problems

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def config(*opts, name="Base-RCNN-ZF"):
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / f"{name}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.merge_from_list(list(opts))
    return cfg


@pytest.mark.parametrize(
    "key, value",
    [
        ("MAX_ITER", 0),
        ("MAX_ITER", -5),
        ("STEPS", (300, 200)),
        ("BASE_LR", 0.0),
        ("BATCH_SIZE", 0),
        ("IMAGE_SIZE", 0),
        ("MOMENTUM", 1.0),
        ("WEIGHT_DECAY", -0.1),
        ("WEIGHT_DECAY", float("nan")),
        ("MIN_SCALE", 0.0),
        ("MIN_SCALE", 1.5),
        ("BACKGROUND_FRACTION", 1.0),
        ("BACKGROUND_FRACTION", -0.5),
    ],
)
def test_each_key_is_named(key, value):
    (problem,) = pretraining_problems(config(f"PRETRAIN.{key}", value))
    assert problem.startswith(f"PRETRAIN.{key} is {value}")


def test_keys_of_the_network_are_checked_too():
    cfg = config("MODEL.BACKBONE.NAME", "build_vgg19_backbone", "PRETRAIN.MAX_ITER", 0, "PRETRAIN.BATCH_SIZE", 0)
    with pytest.raises(ConfigError) as error:
        pretrain(cfg, "nowhere.pth")
    lines = str(error.value).splitlines()
    assert [line.split(" is ")[0] for line in lines] == [
        "MODEL.BACKBONE.NAME",
        "PRETRAIN.MAX_ITER",
        "PRETRAIN.BATCH_SIZE",
    ]


def test_the_file_that_is_to_be_written_need_not_be_there():
    assert pretraining_problems(config("MODEL.WEIGHTS", "nowhere/zf.pth")) == []


def test_what_is_for_crops_alone_is_no_matter_for_a_folder():
    opts = ("PRETRAIN.DATA", "imagenet", "PRETRAIN.MIN_SCALE", 0.0, "PRETRAIN.BACKGROUND_FRACTION", 1.0)
    assert pretraining_problems(config(*opts)) == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("**/*4step*.yaml")), ids=lambda path: path.stem)
def test_the_configs_can_be_pre_trained(path):
    assert pretraining_problems(config(name=path.relative_to(CONFIGS).with_suffix(""))) == []
