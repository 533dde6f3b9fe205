"""Rows of released VOC detectors need no other order (SPEC 1.6, 8.5): they carry no names, so the lists must agree."""

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing.caffe_names import name_caffe_layers
from frcnn_alt.data import register_datasets

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

# Alphabetical, as in py-faster-rcnn's pascal_voc.py behind its background and in the columns of the paper's table 6.
# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on


@pytest.mark.parametrize("name", ["voc_2007_trainval", "voc_2007_test", "voc_2012_trainval"])
def test_detectron2s_classes_are_those_of_py_faster_rcnn(name):
    assert list(MetadataCatalog.get(name).thing_classes) == CLASSES == sorted(CLASSES)


@pytest.mark.usefixtures("own_catalogs")
def test_a_folder_of_all_voc_classes_has_them_in_this_order_without_being_told(voc_folder):
    objects = [(name, 3, 3, 20, 20) for name in reversed(CLASSES)]
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(voc_folder({"a": objects}))
    register_datasets(cfg)
    assert list(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).thing_classes) == CLASSES


def test_row_of_each_class_in_a_released_detector():
    """Row c of cls_score is told by its bias c; Caffe's list begins with the background."""
    caffe = ["__background__", *CLASSES]
    layers = {
        "cls_score": [np.zeros((21, 8), np.float32), np.arange(21, dtype=np.float32)],
        "bbox_pred": [np.zeros((84, 8), np.float32), np.repeat(np.arange(21, dtype=np.float32), 4)],
    }
    weights = name_caffe_layers(layers, "released.caffemodel").model
    rows = weights["roi_heads.box_predictor.cls_score.bias"].tolist()
    ours = [*MetadataCatalog.get("voc_2007_test").thing_classes, "__background__"]
    assert [caffe[int(row)] for row in rows] == ours
    deltas = weights["roi_heads.box_predictor.bbox_pred.bias"].reshape(-1, 4)
    assert [caffe[int(row[0])] for row in deltas.tolist()] == ours[:-1] and (deltas == deltas[:, :1]).all()
