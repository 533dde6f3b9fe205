"""Pre-training that is cut, stopped, or meets NaN: what it says, and that it ends, resumed, with the same weights."""

import os
import signal

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine import pretrain as module
from frcnn_alt.engine.nonfinite import NonFiniteError
from frcnn_alt.engine.pretrain import pretrain, working_folder
from frcnn_alt.engine.saved_batch import read_batch
from frcnn_alt.engine.stopping import Stopped
from frcnn_alt.modeling.classifier import BackboneClassifier

import pytest
import torch
from detectron2.engine import HookBase
from pretraining import HUES, crops_config, pretraining_config, saved_weights, write_image_folder


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def shapes_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "cut_shapes"
    make_shapes(root, seed=1, num_trainval=6, num_test=3, size=(96, 64))
    return str(root)


class _Cut(HookBase):
    """Ends the training as a crash would, after an iteration's checkpoint."""

    def after_step(self):
        if self.trainer.iter == 5:
            raise RuntimeError("cut")


def test_resumed_run_ends_with_the_same_weights(shapes_root, tmp_path, monkeypatch):
    cfg = crops_config(shapes_root, MAX_ITER=8)  # checkpoints after 2, 4, 6; the learning rate drops at 6
    assert cfg.MODEL.ROI_BOX_HEAD.DROPOUT == 0.5
    uninterrupted = saved_weights(pretrain(cfg, str(tmp_path / "whole.pth")))

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

    other = crops_config(shapes_root, MAX_ITER=8, BASE_LR=0.02)
    with pytest.raises(ConfigError, match="with another config"):
        pretrain(other, cut, resume=True)

    resumed = saved_weights(pretrain(cfg, cut, resume=True))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    assert [name for name in os.listdir(working_folder(cut)) if name.endswith(".pth")] == []

    restarted = saved_weights(
        pretrain(crops_config(shapes_root, MAX_ITER=8, BASE_LR=0.02), str(tmp_path / "other.pth"))
    )
    assert any(not torch.equal(restarted[name], uninterrupted[name]) for name in uninterrupted)


def test_pre_training_is_stopped_with_a_checkpoint_and_gone_on_with(shapes_root, tmp_path, monkeypatch):
    cfg, path = crops_config(shapes_root, MAX_ITER=8), str(tmp_path / "stopped.pth")
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    uninterrupted = saved_weights(pretrain(cfg, str(tmp_path / "whole.pth")))
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
    resumed = saved_weights(pretrain(cfg, path, resume=True))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)


def test_a_loss_that_is_nan_stops_pre_training_and_names_the_files(tmp_path, image_folder, monkeypatch):
    """The images of iteration 3 are those that the loader has shown there; what is resumed ends as undisturbed."""
    cfg = pretraining_config(DATA=image_folder)
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
