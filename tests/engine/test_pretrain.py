"""Pre-training: it learns, its file fits the detector, several processes train what one does."""

import os

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data import DatasetError, register_datasets
from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.manifest import command_of_weights
from frcnn_alt.engine.pretrain import pretrain
from frcnn_alt.engine.pretrain_data import open_classification_data
from frcnn_alt.engine.pretrain_init import initialize_from_images
from frcnn_alt.modeling.classifier import BackboneClassifier

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from pretraining import crops_config, pretraining_config, saved_weights, write_image_folder
from scripts import load_script
from two_processes import on_two_processes


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def shapes_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "pretrain_shapes"
    make_shapes(root, seed=1, num_trainval=6, num_test=3, size=(96, 64))
    return str(root)


def test_learns_an_image_folder(image_folder, tmp_path):
    """Chance is 33%; training that is fed wrong labels, channels or an all-zero signal stays there."""
    cfg = pretraining_config(DATA=image_folder, MAX_ITER=60, STEPS=(50,))
    path = pretrain(cfg, str(tmp_path / "zf.pth"))
    about = read_checkpoint(path)["frcnn_alt"]
    assert about["accuracy"] >= 80
    assert about["classes"] == ["blue", "green", "red"]
    assert about["input_format"] == "BGR"
    assert about["pixel_mean"] == pytest.approx([102.9801, 115.9465, 122.7717])


def test_file_is_in_the_detectors_channel_order(image_folder, tmp_path):
    """The classifier sees what detection would: BGR. Its images are those of the folder with the first channel blue."""
    data = open_classification_data(pretraining_config(DATA=image_folder), seed=0)
    means = {}
    for index in range(len(data.test)):
        image, label = data.test[index]
        means.setdefault(data.classes[label], []).append(image.float().mean(dim=(1, 2)).argmax().item())
    assert {name: set(channels) for name, channels in means.items()} == {"blue": {0}, "green": {1}, "red": {2}}


@pytest.mark.parametrize("net", ["ZF", "VGG16"])
def test_file_fits_the_detector(net, shapes_root, tmp_path):
    cfg = crops_config(shapes_root, net=net, MAX_ITER=2, STEPS=(1,))
    path = pretrain(cfg, str(tmp_path / "weights.pth"))
    saved = saved_weights(path)
    detector = build_model(cfg)
    wanted = {n for n in detector.state_dict() if n.startswith(("backbone.", "roi_heads.box_head."))}
    assert set(saved) == wanted
    assert all(saved[name].shape == detector.state_dict()[name].shape for name in wanted)
    DetectionCheckpointer(detector).load(path)
    assert all(torch.equal(detector.state_dict()[name], saved[name]) for name in wanted)


def test_trains_also_what_detection_freezes(shapes_root, tmp_path):
    cfg = crops_config(shapes_root, net="VGG16", MAX_ITER=1)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 2
    assert all(p.requires_grad for p in BackboneClassifier(cfg, num_classes=3).parameters())


def test_finished_file_is_kept(shapes_root, tmp_path):
    cfg = crops_config(shapes_root, MAX_ITER=1)
    path = pretrain(cfg, str(tmp_path / "weights.pth"))
    first = os.stat(path).st_mtime_ns
    pretrain(cfg, path)
    assert os.stat(path).st_mtime_ns == first
    pretrain(cfg, path, overwrite=True)
    assert os.stat(path).st_mtime_ns > first
    with pytest.raises(ConfigError, match="not made with this config"):
        pretrain(crops_config(shapes_root, MAX_ITER=2), path)
    (tmp_path / "notes.pth").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="notes.pth exists"):
        pretrain(cfg, str(tmp_path / "notes.pth"))


def test_first_images_set_the_scale():
    """After initialisation every layer's channels have mean 0, and the deviations fall from 58 to 1."""
    torch.manual_seed(0)
    model = BackboneClassifier(pretraining_config(), num_classes=4)
    images = torch.randint(0, 256, (32, 3, 6, 6)).float()
    images = torch.nn.functional.interpolate(images, size=(64, 64), mode="bilinear")
    initialize_from_images(model, images)
    outputs = {}
    for name in ("backbone.conv1", "backbone.conv5", "box_head.fc7"):
        model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: outputs.update({name: o.clone()}))
    with torch.no_grad():
        model.eval().logits(images)
    conv1, conv5, fc7 = outputs["backbone.conv1"], outputs["backbone.conv5"], outputs["box_head.fc7"]
    assert conv1.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert conv1.std(dim=(0, 2, 3)).tolist() == pytest.approx([58.0] * conv1.shape[1], rel=0.01)
    assert conv5.std(dim=(0, 2, 3)).median().item() == pytest.approx(58 ** (1 / 5), rel=0.01)
    assert fc7.mean(dim=0).abs().max() < 0.01
    assert fc7.std(dim=0).median().item() == pytest.approx(1.0, rel=0.01)


def test_missing_folder_and_bad_keys(shapes_root, tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere/train is not a folder.*train/<class>"):
        pretrain(pretraining_config(DATA=str(tmp_path / "nowhere")), str(tmp_path / "w.pth"))
    (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DatasetError, match="wanted is the layout|Wanted is the layout"):
        pretrain(pretraining_config(DATA=str(tmp_path / "empty")), str(tmp_path / "w.pth"))
    with pytest.raises(ConfigError, match="give --output"):
        pretrain(crops_config(shapes_root), "detectron2://ImageNetPretrained/MSRA/R-50.pkl")
    with pytest.raises(ConfigError, match="BACKGROUND_FRACTION"):
        pretrain(crops_config(shapes_root, BACKGROUND_FRACTION=1.0), str(tmp_path / "w.pth"))


def _pretrain_together(cfg, path):
    register_datasets(cfg)
    pretrain(cfg, path)


def test_two_processes_train_what_one_does(shapes_root, tmp_path):
    """Without dropout the gradient of a batch is the mean of its halves' gradients."""
    cfg = crops_config(shapes_root, MAX_ITER=3, STEPS=(2,))
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.0
    alone = saved_weights(pretrain(cfg, str(tmp_path / "alone.pth")))
    on_two_processes(_pretrain_together, cfg, str(tmp_path / "two.pth"))
    together = saved_weights(str(tmp_path / "two.pth"))
    assert all(torch.allclose(alone[name], together[name], rtol=1e-3, atol=1e-5) for name in alone)


def test_command_line(shapes_root, tmp_path, monkeypatch, capsys):
    tool = load_script("tools/pretrain_backbone.py")
    config_file = tmp_path / "tiny.yaml"
    config_file.write_text(crops_config(shapes_root, MAX_ITER=1).dump())
    args = tool.argument_parser().parse_args(
        ["--config-file", str(config_file), "--output", str(tmp_path / "out.pth"), "PRETRAIN.BATCH_SIZE", "4"]
    )
    monkeypatch.setattr("sys.argv", ["tools/pretrain_backbone.py", "--config-file", "tiny.yaml"])
    assert tool.run(args) == 0
    assert set(saved_weights(str(tmp_path / "out.pth")))
    assert command_of_weights(str(tmp_path / "out.pth")) == ["tools/pretrain_backbone.py", "--config-file", "tiny.yaml"]
    assert "Wrote" in (tmp_path / "out.pretrain" / "log.txt").read_text()
