"""tools/visualize.py --batch: the images of an iteration that was not finite, as the network got them."""

from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.saved_batch import save_batch

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image


def test_a_saved_batch_is_drawn_as_the_network_got_it(visualize, tmp_path, capsys):
    """Its colours are in the order of INPUT.FORMAT, BGR; its objects are in the coordinates of its pixels."""
    blue = torch.zeros(3, 84, 112, dtype=torch.uint8)
    blue[0] = 255
    instances = Instances((84, 112), gt_boxes=Boxes(torch.tensor([[20.0, 10.0, 60.0, 50.0]])))
    instances.gt_classes = torch.tensor([1])
    inputs = [{"image": blue, "file_name": "/data/sky.png", "image_id": 7, "instances": instances}]
    path = str(tmp_path / "nonfinite_batch_0000003.pth")
    save_batch(path, inputs, [], {"iteration": 3, "seed": 1, "losses": {"loss_cls": 1.0}, "first_nonfinite": "fc7"})
    assert visualize("--batch", path) == 0
    assert "iteration 3" in capsys.readouterr().out
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "0_sky.jpg").convert("RGB")).astype(int)
    scale = drawn.shape[1] / 112
    assert drawn[-5, -5, 2] > 200 and drawn[-5, -5, 0] < 60
    differs = np.abs(drawn - drawn[-5, -5]).sum(axis=2) > 100
    columns = np.flatnonzero(differs[int(45 * scale)]) / scale  # below the label
    assert abs(columns.min() - 20) < 2 and abs(columns.max() - 60) < 2


def test_a_file_that_is_no_batch(visualize, network, tmp_path):
    with pytest.raises(ConfigError, match="there is no such batch"):
        visualize("--batch", tmp_path / "nothing.pth")
    with pytest.raises(ConfigError, match="model_final.pth is no saved batch"):
        visualize("--batch", network.parent / "model_final.pth")
    (tmp_path / "text.pth").write_text("no")
    with pytest.raises(ConfigError, match="text.pth cannot be read as a saved batch"):
        visualize("--batch", tmp_path / "text.pth")
