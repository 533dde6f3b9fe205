"""Small versions of detectron2's own R-CNN configs, their ImageNet file in Caffe2's form, and data with masks."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any, Dict

from frcnn_alt.data import load_dataset_dicts

import numpy as np
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone

# What the model zoo's yaml files set, with few channels. Three classes: that of the data is set from the data.
_SMALL = {
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "DEVICE": "cpu",
    "RESNETS": {"DEPTH": 50, "STEM_OUT_CHANNELS": 4, "RES2_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 4},
}
_FPN: Dict[str, Any] = {
    "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
    "RESNETS": {**_SMALL["RESNETS"], "OUT_FEATURES": ["res2", "res3", "res4", "res5"]},
    "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 8},
    "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [32], [64], [128]], "ASPECT_RATIOS": [[0.5, 1.0, 2.0]]},
    "RPN": {"IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"], "PRE_NMS_TOPK_TEST": 1000},
    "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"], "BATCH_SIZE_PER_IMAGE": 32},
    "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "FC_DIM": 16, "POOLER_RESOLUTION": 7},
}
_C4: Dict[str, Any] = {
    "ANCHOR_GENERATOR": {"SIZES": [[16, 32, 64]]},
    "RPN": {"PRE_NMS_TOPK_TEST": 6000, "POST_NMS_TOPK_TEST": 1000},
    "ROI_HEADS": {"NAME": "Res5ROIHeads", "BATCH_SIZE_PER_IMAGE": 32},
}
_MASK = {
    "MASK_ON": True,
    "ROI_MASK_HEAD": {
        "NAME": "MaskRCNNConvUpsampleHead",
        "NUM_CONV": 2,
        "CONV_DIM": 8,
        "POOLER_RESOLUTION": 14,
    },
}
STOCK = {
    "faster_rcnn_R_50_C4": {**_SMALL, **_C4},
    "faster_rcnn_R_50_FPN": {**_SMALL, **_FPN},
    "mask_rcnn_R_50_FPN": {**_SMALL, **_FPN, **_MASK},
}


def write_stock_yaml(path: Path, name: str, **model: Any) -> Path:
    """Write the config called `name` in the model zoo, with `model` in place of what it has there."""
    config = {
        "MODEL": {**STOCK[name], **model},
        "INPUT": {"MIN_SIZE_TRAIN": [84], "MIN_SIZE_TEST": 84},
        "SOLVER": {"IMS_PER_BATCH": 2, "BASE_LR": 0.002, "MAX_ITER": 3, "STEPS": [2], "WARMUP_ITERS": 0},
        "DATALOADER": {"NUM_WORKERS": 0},
        "SEED": 4,
        "VERSION": 2,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def write_caffe2_weights(cfg: CfgNode, path: Path) -> Dict[str, np.ndarray]:
    """Write random weights of a C4 or FPN config's ResNet under the names of detectron2's ImageNet files.

    Returns:
        detectron2's name within the ResNet -> array.
    """
    written, blobs = {}, {}
    state = build_backbone(cfg).state_dict()
    state = {re.sub(r"^bottom_up\.", "", name): value for name, value in state.items() if "fpn_" not in name}
    rng = np.random.default_rng(5)
    for name, value in state.items():
        kind = name.rsplit(".", 1)[1]
        if kind not in ("weight", "bias"):
            continue  # means and variances are merged into scale and bias there
        array = rng.normal(1 if ".norm.weight" in name else 0, 0.05, tuple(value.shape)).astype(np.float32)
        written[name] = array
        blobs[_caffe2_name(name)] = array
    with open(path, "wb") as file:
        pickle.dump(blobs, file, protocol=2)
    return written


def _caffe2_name(name: str) -> str:
    name = name.replace("stem.conv1.norm.weight", "res_conv1_bn_s").replace("stem.conv1.norm.bias", "res_conv1_bn_b")
    name = name.replace("stem.conv1.weight", "conv1_w")
    for ours, theirs in (("shortcut", "branch1"), ("conv1", "branch2a"), ("conv2", "branch2b"), ("conv3", "branch2c")):
        name = re.sub(rf"\.{ours}\.norm\.weight", f".{theirs}_bn_s", name)
        name = re.sub(rf"\.{ours}\.norm\.bias", f".{theirs}_bn_b", name)
        name = re.sub(rf"\.{ours}\.weight", f".{theirs}_w", name)
    return name.replace(".", "_")


def write_coco_with_masks(folder: Path, dataset_name: str, image_folder: str) -> str:
    """Write a COCO json of a registered data set in which every object's mask is a diamond in its box."""
    images, annotations = [], []
    for number, record in enumerate(load_dataset_dicts(dataset_name), start=1):
        file_name = os.path.relpath(record["file_name"], image_folder)
        images.append({"id": number, "file_name": file_name, "width": record["width"], "height": record["height"]})
        for annotation in record["annotations"]:
            x1, y1, x2, y2 = map(float, annotation["bbox"])
            middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": annotation["category_id"] + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1) / 2,
                    "iscrowd": 0,
                    "segmentation": [[middle_x, y1, x2, middle_y, middle_x, y2, x1, middle_y]],
                }
            )
    categories = [{"id": i + 1, "name": f"class{i + 1}"} for i in range(4)]
    path = folder / f"{dataset_name}.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return str(path)
