"""Pre-training: it learns, its file fits the detector, and a run that is cut and resumed ends with the same weights."""

import os
import signal

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data import DatasetError, register_datasets
from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine import pretrain as module
from frcnn_alt.engine.manifest import command_of_weights
from frcnn_alt.engine.nonfinite import NonFiniteError
from frcnn_alt.engine.pretrain import pretrain, working_folder
from frcnn_alt.engine.pretrain_data import open_classification_data
from frcnn_alt.engine.pretrain_init import initialize_from_images
from frcnn_alt.engine.saved_batch import read_batch
from frcnn_alt.engine.stopping import Stopped
from frcnn_alt.modeling.classifier import BackboneClassifier

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from PIL import Image
from scripts import load_script
from two_processes import on_two_processes

REPOSITORY = os.path.join(os.path.dirname(__file__), "..", "..")
HUES = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def _config(net="ZF", **pretrain_keys):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(REPOSITORY, "configs", f"Base-RCNN-{net}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.08
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 200
    for key, value in {"IMAGE_SIZE": 32, "MIN_SCALE": 1.0, "BATCH_SIZE": 8, "MAX_ITER": 8, "STEPS": (6,)}.items():
        cfg.PRETRAIN[key] = value
    for key, value in pretrain_keys.items():
        cfg.PRETRAIN[key] = value
    return cfg


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    """Three classes that differ in hue, under noise; 12 + 4 images a class."""
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name, hue in HUES.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(hue) + rng.normal(0, 60, (40, 48, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")
    return str(root)


@pytest.fixture(scope="module")
def shapes_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "pretrain_shapes"
    make_shapes(root, seed=1, num_trainval=6, num_test=3, size=(96, 64))
    return str(root)


def _crops_config(shapes_root, **keys):
    cfg = _config(**keys)
    cfg.DATASETS.VOC_LAYOUT.ROOT = shapes_root
    register_datasets(cfg)
    return cfg


def _weights(path):
    return read_checkpoint(path)["model"]


def test_learns_an_image_folder(image_folder, tmp_path):
    """Chance is 33%; training that is fed wrong labels, channels or an all-zero signal stays there."""
    cfg = _config(DATA=image_folder, MAX_ITER=60, STEPS=(50,))
    path = pretrain(cfg, str(tmp_path / "zf.pth"))
    about = read_checkpoint(path)["frcnn_alt"]
    assert about["accuracy"] >= 80
    assert about["classes"] == ["blue", "green", "red"]
    assert about["input_format"] == "BGR"
    assert about["pixel_mean"] == pytest.approx([102.9801, 115.9465, 122.7717])


def test_file_is_in_the_detectors_channel_order(image_folder, tmp_path):
    """The classifier sees what detection would: BGR. Its images are those of the folder with the first channel blue."""
    data = open_classification_data(_config(DATA=image_folder), seed=0)
    means = {}
    for index in range(len(data.test)):
        image, label = data.test[index]
        means.setdefault(data.classes[label], []).append(image.float().mean(dim=(1, 2)).argmax().item())
    assert {name: set(channels) for name, channels in means.items()} == {"blue": {0}, "green": {1}, "red": {2}}


@pytest.mark.parametrize("net", ["ZF", "VGG16"])
def test_file_fits_the_detector(net, shapes_root, tmp_path):
    cfg = _crops_config(shapes_root, net=net, MAX_ITER=2, STEPS=(1,))
    path = pretrain(cfg, str(tmp_path / "weights.pth"))
    saved = _weights(path)
    detector = build_model(cfg)
    wanted = {n for n in detector.state_dict() if n.startswith(("backbone.", "roi_heads.box_head."))}
    assert set(saved) == wanted
    assert all(saved[name].shape == detector.state_dict()[name].shape for name in wanted)
    DetectionCheckpointer(detector).load(path)
    assert all(torch.equal(detector.state_dict()[name], saved[name]) for name in wanted)


def test_trains_also_what_detection_freezes(shapes_root, tmp_path):
    cfg = _crops_config(shapes_root, net="VGG16", MAX_ITER=1)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 2
    assert all(p.requires_grad for p in BackboneClassifier(cfg, num_classes=3).parameters())


class _Cut(HookBase):
    """Ends the training as a crash would, after an iteration's checkpoint."""

    def after_step(self):
        if self.trainer.iter == 5:
            raise RuntimeError("cut")


def test_resumed_run_ends_with_the_same_weights(shapes_root, tmp_path, monkeypatch):
    cfg = _crops_config(shapes_root, MAX_ITER=8)  # checkpoints after 2, 4, 6; the learning rate drops at 6
    assert cfg.MODEL.ROI_BOX_HEAD.DROPOUT == 0.5
    uninterrupted = _weights(pretrain(cfg, str(tmp_path / "whole.pth")))

    original = module.PretrainTrainer.__init__

    def with_cut(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.register_hooks([_Cut()])

    cut = str(tmp_path / "cut.pth")
    with monkeypatch.context() as patch:
        patch.setattr(module.PretrainTrainer, "__init__", with_cut)
        with pytest.raises(RuntimeError, match="cut"):
            pretrain(cfg, cut)
    assert not os.path.exists(cut)
    assert os.path.exists(os.path.join(working_folder(cut), "last_checkpoint"))

    other = _crops_config(shapes_root, MAX_ITER=8, BASE_LR=0.02)
    with pytest.raises(ConfigError, match="with another config"):
        pretrain(other, cut, resume=True)

    resumed = _weights(pretrain(cfg, cut, resume=True))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    assert [name for name in os.listdir(working_folder(cut)) if name.endswith(".pth")] == []

    restarted = _weights(pretrain(_crops_config(shapes_root, MAX_ITER=8, BASE_LR=0.02), str(tmp_path / "other.pth")))
    assert any(not torch.equal(restarted[name], uninterrupted[name]) for name in uninterrupted)


def test_finished_file_is_kept(shapes_root, tmp_path):
    cfg = _crops_config(shapes_root, MAX_ITER=1)
    path = pretrain(cfg, str(tmp_path / "weights.pth"))
    first = os.stat(path).st_mtime_ns
    pretrain(cfg, path)
    assert os.stat(path).st_mtime_ns == first
    pretrain(cfg, path, overwrite=True)
    assert os.stat(path).st_mtime_ns > first
    with pytest.raises(ConfigError, match="not made with this config"):
        pretrain(_crops_config(shapes_root, MAX_ITER=2), path)
    (tmp_path / "notes.pth").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="notes.pth exists"):
        pretrain(cfg, str(tmp_path / "notes.pth"))


def test_first_images_set_the_scale():
    """After initialisation every layer's channels have mean 0, and the deviations fall from 58 to 1."""
    torch.manual_seed(0)
    model = BackboneClassifier(_config(), num_classes=4)
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
        pretrain(_config(DATA=str(tmp_path / "nowhere")), str(tmp_path / "w.pth"))
    (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DatasetError, match="wanted is the layout|Wanted is the layout"):
        pretrain(_config(DATA=str(tmp_path / "empty")), str(tmp_path / "w.pth"))
    with pytest.raises(ConfigError, match="give --output"):
        pretrain(_crops_config(shapes_root), "detectron2://ImageNetPretrained/MSRA/R-50.pkl")
    with pytest.raises(ConfigError, match="BACKGROUND_FRACTION"):
        pretrain(_crops_config(shapes_root, BACKGROUND_FRACTION=1.0), str(tmp_path / "w.pth"))


def _pretrain_together(cfg, path):
    register_datasets(cfg)
    pretrain(cfg, path)


def test_two_processes_train_what_one_does(shapes_root, tmp_path):
    """Without dropout the gradient of a batch is the mean of its halves' gradients."""
    cfg = _crops_config(shapes_root, MAX_ITER=3, STEPS=(2,))
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.0
    alone = _weights(pretrain(cfg, str(tmp_path / "alone.pth")))
    on_two_processes(_pretrain_together, cfg, str(tmp_path / "two.pth"))
    together = _weights(str(tmp_path / "two.pth"))
    assert all(torch.allclose(alone[name], together[name], rtol=1e-3, atol=1e-5) for name in alone)


def test_command_line(shapes_root, tmp_path, monkeypatch, capsys):
    tool = load_script("tools/pretrain_backbone.py")
    config_file = tmp_path / "tiny.yaml"
    config_file.write_text(_crops_config(shapes_root, MAX_ITER=1).dump())
    args = tool.argument_parser().parse_args(
        ["--config-file", str(config_file), "--output", str(tmp_path / "out.pth"), "PRETRAIN.BATCH_SIZE", "4"]
    )
    monkeypatch.setattr("sys.argv", ["tools/pretrain_backbone.py", "--config-file", "tiny.yaml"])
    assert tool.run(args) == 0
    assert set(_weights(str(tmp_path / "out.pth")))
    assert command_of_weights(str(tmp_path / "out.pth")) == ["tools/pretrain_backbone.py", "--config-file", "tiny.yaml"]
    assert "Wrote" in (tmp_path / "out.pretrain" / "log.txt").read_text()


def test_pre_training_is_stopped_with_a_checkpoint_and_gone_on_with(shapes_root, tmp_path, monkeypatch):
    cfg, path = _crops_config(shapes_root, MAX_ITER=8), str(tmp_path / "stopped.pth")
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    uninterrupted = _weights(pretrain(cfg, str(tmp_path / "whole.pth")))
    stock = module.PretrainTrainer.run_step

    def run_step(trainer):
        if trainer.iter == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        stock(trainer)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(module.PretrainTrainer, "run_step", run_step)
    checkpoint = os.path.join(working_folder(path), "model_0000004.pth")
    message = f"stopped by SIGTERM in pre-training after iteration 5 of 8; checkpoint: {checkpoint}"
    with pytest.raises(Stopped, match=message):
        pretrain(cfg, path)
    assert os.path.isfile(checkpoint) and signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    resumed = _weights(pretrain(cfg, path, resume=True))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)


def test_a_loss_that_is_nan_stops_pre_training_and_names_the_files(tmp_path, image_folder, monkeypatch):
    """The images of iteration 3 are those that the loader has shown there; what is resumed ends as undisturbed."""
    cfg = _config(DATA=image_folder)
    shown, stock = [], BackboneClassifier.forward

    def forward(model, batch):
        shown.append(batch[0])
        losses = stock(model, batch)
        return {name: loss * float("nan") for name, loss in losses.items()} if len(shown) == 4 else losses

    with monkeypatch.context() as patch:
        patch.setattr(BackboneClassifier, "forward", forward)
        with pytest.raises(NonFiniteError, match=r"iteration 3: loss_cls is nan. Images: .*\.png.* PRETRAIN.BASE_LR"):
            pretrain(cfg, str(tmp_path / "cut.pth"))
    batch = read_batch(os.path.join(working_folder(str(tmp_path / "cut.pth")), "nonfinite_batch_0000003.pth"))
    assert torch.equal(batch["tensors"][0], shown[3]) and len(batch["names"]) == len(shown[3])
    labels = [sorted(HUES).index(os.path.basename(os.path.dirname(name))) for name in batch["names"]]
    assert labels == batch["tensors"][1].tolist()
    pretrain(cfg, str(tmp_path / "cut.pth"), resume=True)
    pretrain(cfg, str(tmp_path / "whole.pth"))
    cut, whole = (read_checkpoint(str(tmp_path / name))["model"] for name in ("cut.pth", "whole.pth"))
    assert all(torch.equal(cut[name], whole[name]) for name in whole)
