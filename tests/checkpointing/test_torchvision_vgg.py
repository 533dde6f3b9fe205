"""torchvision's VGG-16: the same features and the same fc7 from the same photograph, on torchvision's own pixels."""

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import CheckpointError, SafeCheckpointer, read_checkpoint

import pytest
import torch
from detectron2.modeling import build_model
from random_detector import CONFIGS
from torch import nn
from torchvision.models.vgg import make_layers
from torchvision.transforms.functional import normalize

WIDTHS = [4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M"]  # of VGG-16, a sixteenth
FC = 24


class _Narrow(nn.Module):
    """torchvision's VGG with its own layers and names, but fewer channels."""

    def __init__(self, widths, batch_norm=False):
        super().__init__()
        self.features = make_layers(widths, batch_norm=batch_norm)
        linear = [nn.Linear(32 * 7 * 7, FC), nn.Linear(FC, FC), nn.Linear(FC, 10)]
        rest = [nn.ReLU(), nn.Dropout(), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(linear[0], *rest[:2], linear[1], *rest[2:], linear[2])


def _config():
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-VGG16.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 1 / 16
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = FC
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    return cfg


def test_features_and_fully_connected_layers_agree(tmp_path):
    torch.manual_seed(0)
    theirs = _Narrow(WIDTHS).eval()
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    ours = build_model(_config()).eval()
    SafeCheckpointer(ours).load(str(tmp_path / "vgg16.pth"))
    photograph = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        scaled = normalize(photograph / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        expected = theirs.features[:-1](scaled[None])  # without pool5; sides divisible by 16 hide the rounding up
        found = ours.backbone(ours.preprocess_image([{"image": photograph}]).tensor)["conv5_3"]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        pooled = torch.randn(2, 32, 7, 7)
        expected = theirs.classifier[:-1](pooled.flatten(1))
        torch.testing.assert_close(ours.roi_heads.box_head(pooled), expected)


def test_record_and_what_is_not_used(tmp_path):
    torch.save({"model": _Narrow(WIDTHS).state_dict(), "epoch": 3}, tmp_path / "vgg16.pth")
    record = read_checkpoint(str(tmp_path / "vgg16.pth"))["frcnn_alt"]
    assert record["not_used"] == ["classifier.6"]
    assert record["layers"]["backbone.conv5_3.bias"] == "features.28"
    assert record["input_format"] == "RGB"
    assert record["pixel_mean"] == pytest.approx([255 * value for value in (0.485, 0.456, 0.406)])
    assert record["pixel_std"] == pytest.approx([255 * value for value in (0.229, 0.224, 0.225)])


@pytest.mark.parametrize("widths, batch_norm", [(WIDTHS, True), (WIDTHS[:9] + [16] + WIDTHS[9:], False)])
def test_other_networks_of_torchvision_are_refused(tmp_path, widths, batch_norm):
    torch.save(_Narrow(widths, batch_norm).state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other.pth.*not its vgg16"):
        read_checkpoint(str(tmp_path / "other.pth"))


def test_a_file_of_features_alone_is_refused(tmp_path):
    """torchvision's IMAGENET1K_FEATURES has NaN for a classifier."""
    state = _Narrow(WIDTHS).state_dict()
    state["classifier.0.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "features.pth")
    with pytest.raises(CheckpointError, match="features.pth.*classifier.0.*IMAGENET1K_V1"):
        read_checkpoint(str(tmp_path / "features.pth"))
