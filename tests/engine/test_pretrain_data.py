"""The images of pre-training are looked at before it begins: all that cannot be used is listed with its file."""

from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.data import DatasetError, register_datasets
from frcnn_alt.engine.pretrain import pretrain
from frcnn_alt.engine.pretrain_data import open_classification_data

import pytest
from voc_files import write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "Base-RCNN-ZF.yaml"
DOG = ("dog", 2, 2, 30, 30)


def config(tmp_path, *opts):
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIG))
    small = ["MODEL.BACKBONE.WIDTH_MULTIPLIER", 0.06, "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.DEVICE", "cpu"]
    short = ["PRETRAIN.MAX_ITER", 1, "PRETRAIN.STEPS", (), "PRETRAIN.BATCH_SIZE", 4, "PRETRAIN.IMAGE_SIZE", 16]
    cfg.merge_from_list([*small, *short, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", str(tmp_path / "run"), *opts])
    register_datasets(cfg)
    return cfg


def cut(path):
    path.write_bytes(path.read_bytes()[:600])


def test_crops_of_malformed_data(voc_folder, tmp_path):
    """A cut file, an image of another size than its boxes were drawn on, a box outside; in training and test set."""
    names = ("fine", "cut", "resized", "outside", "test", "test_cut")
    objects = {**dict.fromkeys(names, [DOG]), "outside": [DOG, ("dog", 50, 2, 90, 30)]}
    root = voc_folder(objects, splits={"trainval": names[:4], "test": names[4:]})
    for name in ("cut", "test_cut"):
        cut(root / "JPEGImages" / f"{name}.jpg")
    write_image(root / "JPEGImages" / "resized.jpg", (30, 20))
    opts = ("DATASETS.VOC_LAYOUT.ROOT", str(root))
    with pytest.raises(DatasetError, match="4 problems") as error:
        pretrain(config(tmp_path, *opts), str(tmp_path / "w.pth"))
    for name in ("JPEGImages/cut.jpg", "JPEGImages/resized.jpg", "Annotations/outside.xml", "JPEGImages/test_cut.jpg"):
        assert f"{root}/{name}" in str(error.value)
    assert not (tmp_path / "w.pth").exists()
    data = open_classification_data(config(tmp_path, *opts, "DATASETS.MALFORMED", "leave_out"), seed=0)
    assert [record["image_id"] for record in data.train.source.dicts] == ["fine", "outside"]
    assert [record["image_id"] for record in data.test.source.dicts] == ["test"]


def test_broken_images_of_a_folder(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            write_image(tmp_path / split / name / "1.jpg", (40, 40))
    cfg = config(tmp_path, "PRETRAIN.DATA", str(tmp_path))
    open_classification_data(cfg, seed=0)
    (tmp_path / "train" / "a" / "2.jpg").write_text("no image")
    write_image(tmp_path / "val" / "b" / "2.jpg", (40, 40))
    cut(tmp_path / "val" / "b" / "2.jpg")
    with pytest.raises(DatasetError, match="2 problems.*2 x unreadable image") as error:
        pretrain(cfg, str(tmp_path / "w.pth"))
    assert f"{tmp_path}/train/a/2.jpg" in str(error.value) and f"{tmp_path}/val/b/2.jpg" in str(error.value)
