"""Images without a data set: the first of a folder, noise made on the spot, and random boxes over them."""

from frcnn_alt.data import DatasetError
from frcnn_alt.data.sample_images import add_random_regions, read_image_folder, write_noise_images

import numpy as np
import pytest
from detectron2.structures import BoxMode
from PIL import Image


def test_first_images_of_a_folder_by_name(tmp_path):
    for name, size in [("b.jpg", (30, 20)), ("a.png", (50, 40)), ("c.jpg", (10, 10))]:
        Image.new("RGB", size).save(tmp_path / name)
    (tmp_path / "0.txt").write_text("no image")
    records = read_image_folder(str(tmp_path), 2)
    assert records == [
        {"file_name": str(tmp_path / "a.png"), "image_id": "a.png", "height": 40, "width": 50},
        {"file_name": str(tmp_path / "b.jpg"), "image_id": "b.jpg", "height": 20, "width": 30},
    ]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        read_image_folder(str(tmp_path / "nowhere"), 5)
    with pytest.raises(DatasetError, match="no image found"):
        read_image_folder(str(tmp_path), 5)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("no image")
    with pytest.raises(DatasetError, match="b.jpg cannot be read"):
        read_image_folder(str(tmp_path), 5)
    assert len(read_image_folder(str(tmp_path), 1)) == 1  # the second is not asked for


def test_noise_has_the_size_asked_for_and_is_the_same_again(tmp_path):
    pixels = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        records = write_noise_images(str(tmp_path / name), 40, 70, 3)
        assert [(r["height"], r["width"]) for r in records] == [(40, 70)] * 3
        pixels.append(np.stack([np.asarray(Image.open(r["file_name"])) for r in records]))
    assert pixels[0].shape == (3, 40, 70, 3) and (pixels[0] == pixels[1]).all()
    assert pixels[0].std() > 20 and (pixels[0][0] != pixels[0][1]).mean() > 0.9


@pytest.mark.parametrize("height, width", [(600, 800), (20, 300), (5, 7)])
def test_random_regions_lie_in_the_image(height, width):
    record = {"image_id": 1, "height": height, "width": width}
    (with_regions,) = add_random_regions([record], 500)
    assert set(record) == {"image_id", "height", "width"}  # as it was
    boxes, scores = with_regions["proposal_boxes"], with_regions["proposal_objectness_logits"]
    assert boxes.shape == (500, 4) and with_regions["proposal_bbox_mode"] == BoxMode.XYXY_ABS
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= np.minimum(16, [width, height]) - 1e-3).all()
    assert (np.diff(scores) <= 0).all() and len(np.unique(boxes, axis=0)) > (400 if height > 16 else 0)
