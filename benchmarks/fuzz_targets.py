"""What `fuzz.py` feeds: every reader of files that may come from elsewhere, with seed files and words of their formats.

A target takes bytes, writes them where its reader looks for a file, and reads. It may raise the room's own errors,
which `ACCEPTED` lists, and nothing else. Where a reader reads several texts the bytes are split at `SPLIT`.
"""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from frcnn_alt.checkpointing import CheckpointError, read_checkpoint
from frcnn_alt.data import DatasetError
from frcnn_alt.data.coco_json import clean_coco_json, load_cleaned_coco_json
from frcnn_alt.data.voc_layout import find_voc_layout_classes, read_voc_layout
from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.command_line import _left_by_steps
from frcnn_alt.modeling.mean_image import read_mean_image
from frcnn_alt.proposals import ProposalSet, ProposalSetError
from frcnn_alt.proposals.detectron2_files import read_detectron2
from frcnn_alt.proposals.matlab_files import read_release_rpn, read_selective_search
from frcnn_alt.report import ReportError, final_table
from frcnn_alt.report.detections import image_quality, read_detections
from frcnn_alt.sweep.read_table import read_table

import numpy as np
from detectron2.data import MetadataCatalog
from fuzz_config_targets import Run, parts_of, read_config, read_config_values, read_overrides, read_yaml
from fuzz_seeds import (
    BYTES,
    COCO,
    DETECTIONS,
    INDEX,
    JSON,
    MANIFEST,
    MATLAB,
    NUMBERS,
    PICKLE,
    ROOT,
    SPLIT,
    VOC,
    XML,
    YAML,
    caffemodels,
    checkpoints,
    configs,
    matlab_files,
    mean_images,
    proposal_pickles,
    words,
)
from PIL import Image

ACCEPTED = (ConfigError, DatasetError, CheckpointError, ProposalSetError, ReportError)


class Target(NamedTuple):
    """One reader.

    Attributes:
        name: of the reader.
        make: makes it in a folder of its own.
        seeds: inputs to begin with, most of them sound.
        words: of the format.
        slowness: it gets so many times fewer inputs than the fastest.
    """

    name: str
    make: Callable[[Path], Run]
    seeds: List[bytes]
    words: List[bytes]
    slowness: int


def _voc(folder: Path, varying: str) -> Run:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(folder / "JPEGImages" / "a.jpg")
    (folder / "Annotations" / "a.xml").write_bytes(VOC)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    path = folder / varying

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_voc_layout(str(folder), "train", ["cat", "dog"])
        find_voc_layout_classes(str(folder), ["train"])

    return run


def _coco(folder: Path) -> Run:
    Image.new("RGB", (60, 40)).save(folder / "a.jpg")
    path = folder / "train.json"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        contents, problems, _ = clean_coco_json(str(path), str(folder))
        if contents["annotations"] and contents["categories"]:
            MetadataCatalog.pop("fuzzed", None)  # which would keep to the classes of the input before
            with contextlib.redirect_stdout(io.StringIO()):  # of pycocotools
                load_cleaned_coco_json(contents, str(folder), "fuzzed")

    return run


def _file(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Run]:
    def make(folder: Path) -> Run:
        path = folder / name

        def run(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        return run

    return make


def _all_images(reader: Callable[[Path], Tuple[Any, Any]]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        names, read_image = reader(path)
        for number in range(len(names)):
            read_image(number)

    return read


def _mean_image(folder: Path) -> Run:
    paths = [folder / "mean.npy", folder / "mean.mat", folder / "mean.binaryproto"]

    def run(data: bytes) -> None:
        path = paths[1] if data.startswith(b"MATLAB") else paths[0] if data.startswith(b"\x93NUMPY") else paths[2]
        path.write_bytes(data)
        try:
            read_mean_image(str(path), "BGR")
        except ValueError as error:  # what check_config makes a problem of
            if type(error) is not ValueError or str(path) not in str(error):
                raise AssertionError("it does not name the file") from error

    return run


def _proposal_set(folder: Path) -> Run:
    (folder / "boxes-1.float32").write_bytes(np.arange(12, dtype="<f4").tobytes())

    def run(data: bytes) -> None:
        index, scores = parts_of(data, 2)
        (folder / "index.json").write_bytes(index)
        (folder / "scores-1.float32").write_bytes(scores)
        proposals = ProposalSet(folder)
        assert all(file.parent == folder for file in proposals._files.values())
        for image_id in proposals:
            boxes, found = proposals[image_id]
            assert len(boxes) == len(found) <= 3
        with contextlib.suppress(ProposalSetError):
            proposals.verify()

    return run


def _manifest(folder: Path) -> Run:
    def run(data: bytes) -> None:
        (folder / "manifest.json").write_bytes(data)
        for file in _left_by_steps(str(folder)):
            assert os.path.realpath(file).startswith(f"{folder}{os.sep}")
        final_table(str(folder))

    return run


def _detections(path: Path) -> None:
    for image in read_detections(str(path))[1]:
        image_quality(image, 0.6)


def targets() -> Dict[str, Target]:
    """All targets by name; the fastest first."""
    keys = [
        b"\n" + key.encode() + b"\n"
        for key in ("MODEL.WEIGHTS", "SOLVER.STEPS", "SCHEDULE.STEP1.OPTS", "DATASETS.TRAIN")
    ]
    tables = [path.read_bytes() for path in sorted((ROOT / "configs" / "tables").glob("*.yaml"))]
    proposal_set = json.dumps(INDEX).encode() + SPLIT + np.arange(3, dtype="<f4").tobytes()
    found = [
        Target("proposal_set", _proposal_set, [proposal_set], JSON, 4),
        Target("caffemodel", _file("a.caffemodel", lambda path: read_checkpoint(str(path))), caffemodels(), BYTES, 1),
        Target("voc_annotation", lambda f: _voc(f, "Annotations/a.xml"), [VOC], [*XML, *NUMBERS], 4),
        Target(
            "voc_split",
            lambda f: _voc(f, "ImageSets/Main/train.txt"),
            [b"a\nb\n\na 1\n"],
            words("../a /etc/passwd \0 a/../a \xff"),
            8,
        ),
        Target("coco_json", _coco, [COCO], JSON, 1),
        Target("manifest", _manifest, [json.dumps(MANIFEST).encode()], [*JSON, b'"../../x"'], 6),
        Target("detections", _file("a.jsonl", _detections), [DETECTIONS], JSON, 4),
        Target("pickled_checkpoint", _file("a.pkl", lambda path: read_checkpoint(str(path))), checkpoints(), PICKLE, 2),
        Target("pickled_proposals", _file("a.pkl", _all_images(read_detectron2)), proposal_pickles(), PICKLE, 4),
        Target(
            "matlab_selective_search", _file("a.mat", _all_images(read_selective_search)), matlab_files(), MATLAB, 4
        ),
        Target("matlab_rpn", _file("a.mat", _all_images(read_release_rpn)), matlab_files(), MATLAB, 6),
        Target("mean_image", _mean_image, mean_images(), BYTES + MATLAB, 2),
        Target(
            "overrides",
            read_overrides,
            [b"SOLVER.BASE_LR\n0.1\nSOLVER.STEPS\n(3, 4)"],
            [*keys, *NUMBERS, b"-" * 9999, b"(" * 999],
            40,
        ),
        Target("config_values", read_config_values, [bytes(range(n, n + 12)) for n in range(0, 240, 12)], [], 60),
        Target("yaml", read_yaml, [*tables, *(seed.split(SPLIT)[0] for seed in configs()[:3])], YAML, 60),
        Target("table", _file("a.yaml", lambda path: read_table(str(path))), tables, YAML, 60),
        Target("config", read_config, configs(), [*YAML, *keys], 60),
    ]
    return {target.name: target for target in found}
