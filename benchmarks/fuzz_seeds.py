"""Seed files and words of their formats for `fuzz_targets.py`: what is damaged, and what it is damaged with."""

import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any, List

import frcnn_alt

import numpy as np
from detectron2.structures import BoxMode

SPLIT = b"\n%%%%\n"
ROOT = Path(__file__).parents[1]


VOC = b"""<annotation><folder>VOC</folder><filename>a.jpg</filename>
<size><width>60</width><height>40</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax>
</bndbox></object><object><name>dog</name><difficult>1</difficult><bndbox><xmin>2.5</xmin><ymin>3</ymin><xmax>20</xmax>
<ymax>30</ymax></bndbox></object></annotation>"""

COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 12.5], "area": 125, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 4, 5, 6]]},
        ],
    }
).encode()

INDEX = {
    "version": 1,
    "dataset": "toys",
    "sha256": "00",
    "files": {"boxes": "boxes-1.float32", "scores": "scores-1.float32"},
    "metadata": {"method": "rpn"},
    "image_ids": ["a", "b"],
    "counts": [2, 1],
}

STEP = {
    "name": "step1_rpn",
    "kind": "rpn",
    "state": "finished",
    "started_from": {"backbone": "weights"},
    "trained": ["backbone"],
    "frozen": [],
    "parameters": {"trained": 10, "frozen": 0},
    "ims_per_batch": 1,
    "max_iter": 10,
    "base_lr": 0.001,
    "gamma": 0.1,
    "lr_steps": [5],
    "seconds": 3.5,
    "outputs": {"model": {"path": "model_final.pth", "sha256": "ff"}, "proposals": {}},
    "recall": {"toys": {"recall50@300": 50.0, "recall70@300": None, "AR@300": 30.0}},
}
MANIFEST = {"version": 1, "name": "run", "schedule": "rpn", "seed": 3, "command": ["train"], "steps": [STEP]}

DETECTIONS = b"""{"classes": ["cat", "dog"]}
{"image_id": "a", "file_name": "a.jpg", "width": 60, "height": 40, "boxes": [[1, 2, 30, 40]], "scores": [0.9], \
"labels": [0], "gt_boxes": [[1, 2, 30, 41]], "gt_labels": [0], "gt_difficult": [false]}
"""


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def caffe_blob(*shape: int) -> bytes:
    count = int(np.prod(shape))
    return field(7, field(1, b"".join(map(varint, shape)))) + field(5, struct.pack(f"<{count}f", *range(count)))


def old_caffe_blob(*shape: int) -> bytes:
    sizes = b"".join(bytes([number << 3]) + varint(side) for number, side in enumerate(shape, start=1))
    return sizes + field(5, struct.pack(f"<{int(np.prod(shape))}f", *range(int(np.prod(shape)))))


def caffemodels() -> List[bytes]:
    layer = field(1, b"conv1_1") + field(7, caffe_blob(2, 3, 1, 1)) + field(7, caffe_blob(2))
    head = field(1, b"cls_score") + field(7, caffe_blob(3, 2)) + field(7, caffe_blob(3))
    old = field(4, b"conv1") + field(6, old_caffe_blob(2, 3, 1, 1)) + field(6, old_caffe_blob(1, 1, 1, 2))
    oldest = field(1, field(1, b"fc6") + field(50, old_caffe_blob(1, 1, 2, 3)) + field(50, old_caffe_blob(1, 1, 1, 2)))
    return [field(100, layer) + field(100, head), field(1, b"VGG") + field(2, old), field(2, oldest)]


def matlab_files() -> List[bytes]:
    from scipy.io import savemat

    boxes = np.empty((1, 2), object)
    boxes[0, 0], boxes[0, 1] = np.array([[1, 2, 30, 40]], np.uint16), np.zeros((0, 4))
    images = np.empty((2, 1), object)
    images[:, 0] = ["a", "b"]
    scored = np.empty((2, 1), object)
    scored[0, 0], scored[1, 0] = np.array([[1, 2, 30, 40, 0.5]]), np.zeros((0, 5))
    files = []
    for compressed in (False, True):
        for content in ({"boxes": boxes, "images": images}, {"aboxes": scored, "s": {"x": 1, "y": "text"}}):
            file = io.BytesIO()
            savemat(file, content, do_compression=compressed)
            files.append(file.getvalue())
    return files


def mean_images() -> List[bytes]:
    from scipy.io import savemat

    npy, mat = io.BytesIO(), io.BytesIO()
    np.save(npy, np.ones((2, 2, 3), np.float32))
    savemat(mat, {"image_mean": np.ones((2, 2, 3))})
    return [npy.getvalue(), mat.getvalue(), old_caffe_blob(1, 3, 2, 2)]


def pickles(content: Any) -> List[bytes]:
    return [pickle.dumps(content, protocol) for protocol in (0, 2, 4, 5)]


def checkpoints() -> List[bytes]:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    return pickles({"model": {"fc.weight": weight, "n": np.float64(1)}, "__author__": "x"}) + pickles(
        {"blobs": {"conv1_w": weight.T, "conv1_b": np.zeros(0)}}
    )


def proposal_pickles() -> List[bytes]:
    boxes, scores = [np.array([[1.0, 2, 30, 40]], np.float32), np.zeros((0, 4))], [np.array([0.5]), np.zeros(0)]
    content = {"ids": ["a", 2], "boxes": boxes, "objectness_logits": scores, "bbox_mode": BoxMode.XYXY_ABS}
    return pickles(content) + pickles({"indexes": [1, 2], "boxes": boxes, "scores": scores})


def configs() -> List[bytes]:
    # Relative _BASE_ paths would lead out of the folder that inputs lie in.
    def of(path: Path) -> bytes:
        return path.read_bytes().replace(b"_BASE_: ", f"_BASE_: {path.parent}/".encode())

    configs = [of(ROOT / "configs" / name) for name in ("zf_4step.yaml", "vgg16_4step_coco.yaml", "zf_joint.yaml")]
    overlays = [of(path) for path in sorted((ROOT / "configs" / "overlays").glob("*.yaml"))]
    overlays += [of(path) for path in sorted((ROOT / "configs" / "presets").glob("*.yaml"))]
    opts = b"SOLVER.BASE_LR\n0.1\nMODEL.WEIGHTS\n''\nSCHEDULE.STEP1.OPTS\n['SOLVER.STEPS',(3,)]"
    whole = frcnn_alt.get_cfg().dump().encode()
    return [SPLIT.join((config, overlay, opts)) for config, overlay in zip(configs * 9, overlays)] + [whole]


def words(text: str) -> List[bytes]:
    return [word.encode() for word in text.split()]


NUMBERS = words("0 -1 1e999 -0.0 1e-320 nan inf 9223372036854775807 18446744073709551616 1_000 0x10 1:30 1" + "0" * 400)
VALUES = words(
    "0 1 -1 2 3 1000000000 -1.0 0.5 nan inf 1e-320 1e308 True False None '' 'x' 'cpu' 'cuda:99' [] () [0] (-1,) (1,2,3)"
)
VALUES += words(
    "['x'] [[]] [[1],['x']] [None] (1e308,) ('../../x',) ['SOLVER.STEPS',(3,)] ['MODEL.WEIGHTS'] [('a','b')] {} '\\0'"
)
JSON = [
    *words('null true false NaN Infinity [] {} [[ ]] {{ "" "../x" "/etc/passwd" "\\ud800" "\\u0000"'),
    *NUMBERS,
    b"[" * 3000,
]
YAML = [
    *words("!!python/tuple &a *a <<: !!binary !!set null ~ [] {} - _BASE_: | > ? %YAML --- ... !!timestamp"),
    *NUMBERS,
]
YAML += [b'!!python/object/apply:eval ["[x for x in range(9)]"]', b"2001-13-01", b"[" * 3000, b"_BASE_: config.yaml\n"]
XML = words(
    "<!DOCTYPE <!ENTITY &amp; &#0; &x; <![CDATA[ ]]> <?xml encoding='utf-16' encoding='utf-7' <a> </a> <size/> "
    "<object/>"
)
BYTES = [struct.pack(form, number) for form in ("<I", ">I", "<Q") for number in (0, 1, 2**31 - 1, 2**31, 2**32 - 1)]
BYTES += [struct.pack("<Q", 2**60), b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01"]
MATLAB = [struct.pack("<II", kind, size) for kind in (1, 5, 6, 9, 14, 15) for size in (0, 4, 8, 56, 2**31)] + BYTES
PICKLE = [
    b"c__builtin__\neval\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"R",
    b"b",
    b"t",
    b"(",
    b"0",
    b"2",
    b"\x81",
    b"}",
    b"K\x00",
]
PICKLE += [
    b"r\xff\xff\xff\x7f",
    b"\x8e" + struct.pack("<Q", 2**60),
    b"\x95" + struct.pack("<Q", 2**60),
    b"p99999999999\n",
    *BYTES,
]
