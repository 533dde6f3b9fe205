"""build_evaluator end to end: both metrics, what is left out, proposal networks, and the file of detections."""

import json

from frcnn_alt import get_cfg
from frcnn_alt.data import DatasetError, build_test_loader, check_datasets, load_dataset_dicts, register_datasets
from frcnn_alt.evaluation import build_evaluator
from frcnn_alt.evaluation.detections import ground_truth_arrays

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import register_pascal_voc
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from oracles.voc_metric import average_precision
from torch import nn
from voc_files import voc_annotation, write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")

IMAGES = {
    "a": [("dog", 2, 2, 30, 30), ("cat", 5, 6, 20, 30, 1)],
    "b": [("dog", 2, 2, 30, 30), ("cat", 31, 2, 55, 30)],
    "nothing": [],
}


class Oracle(nn.Module):
    """A detector that knows the answers: every object that is not difficult, with scores that fall."""

    def __init__(self, name, key="instances", repeat=1):
        super().__init__()
        self.truth = {record["image_id"]: ground_truth_arrays(record) for record in load_dataset_dicts(name)}
        self.key, self.repeat = key, repeat

    def forward(self, inputs):
        outputs = []
        for record in inputs:
            truth = self.truth[record["image_id"]]
            boxes = Boxes(torch.tensor(truth["boxes"][~truth["difficult"]], dtype=torch.float32))
            labels = torch.tensor(truth["labels"][~truth["difficult"]])
            result = Instances((record["height"], record["width"]))
            scores = torch.linspace(0.5, 0.9, len(boxes) * self.repeat)
            if self.key == "instances":
                result.pred_boxes = Boxes(boxes.tensor.repeat(self.repeat, 1))
                result.scores, result.pred_classes = scores, labels.repeat(self.repeat)
            else:
                result.proposal_boxes, result.objectness_logits = boxes, scores
            outputs.append({self.key: result})
        return outputs


def evaluate(cfg, model, output_dir):
    name = cfg.DATASETS.TEST[0]
    cfg.DATALOADER.NUM_WORKERS = 0
    evaluator = build_evaluator(cfg, name, str(output_dir))
    result = inference_on_dataset(model, build_test_loader(cfg, load_dataset_dicts(name)), evaluator)
    return result, output_dir / "inference" / name


def voc_config(root, tmp_path, **keys):
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT, cfg.OUTPUT_DIR = str(root), str(tmp_path / "output")
    for key, value in keys.items():
        cfg.DATASETS[key] = value
    register_datasets(cfg)
    return cfg


def lines_of(folder):
    first, *images = [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]
    return first, {line["image_id"]: line for line in images}


def test_voc_layout(voc_folder, tmp_path):
    cfg = voc_config(voc_folder(IMAGES), tmp_path)
    result, folder = evaluate(cfg, Oracle("tiny_test"), tmp_path / "output")
    expected = {"AP": 100, "AP50": 100, "AP75": 100, "AP50-cat": 100, "AP50-dog": 100}
    assert result["bbox"] == {key: pytest.approx(value) for key, value in expected.items()}
    first, images = lines_of(folder)
    assert first == {"dataset": "tiny_test", "classes": ["cat", "dog"]}
    assert list(images) == ["a", "b", "nothing"]
    assert images["a"] == {
        "image_id": "a",
        "file_name": load_dataset_dicts("tiny_test")[0]["file_name"],
        "width": 60,
        "height": 40,
        "boxes": [[1, 1, 30, 30]],
        "scores": [0.5],
        "labels": [1],
        "gt_boxes": [[1, 1, 30, 30], [4, 5, 20, 30]],
        "gt_labels": [1, 0],
        "gt_difficult": [0, 1],
    }
    assert images["b"]["scores"] == sorted(images["b"]["scores"], reverse=True)
    assert images["b"]["labels"] == [0, 1]
    assert images["nothing"]["boxes"] == images["nothing"]["gt_boxes"] == []
    assert [path.name for path in folder.iterdir()] == ["detections.jsonl"]


@pytest.mark.parametrize("year", [2007, 2012])
def test_the_year_of_the_data_set_decides_which_metric_it_is(year, voc_folder, tmp_path):
    """VOC 2007: 11 points. VOC 2012: the area. Where two of three objects are found among errors they differ."""
    objects = {name: [("dog", 2 + n, 2, 30 + n, 30)] for n, name in enumerate("abc")}
    register_pascal_voc("voc_of_a_year", str(voc_folder(objects)), "test", year, ["dog"])
    MetadataCatalog.get("voc_of_a_year").evaluator_type = "pascal_voc"  # as detectron2 says of its own
    cfg = get_cfg()
    cfg.DATASETS.TEST, cfg.MODEL.ROI_HEADS.NUM_CLASSES = ("voc_of_a_year",), 1
    wrong = (41, 6, 58, 35)
    said = {"a": {0.9: wrong, 0.8: (2, 2, 30, 30)}, "b": {0.7: wrong, 0.3: (3, 2, 31, 30)}, "c": {0.5: wrong}}

    def model(inputs):
        instances = Instances((40, 60))
        boxes = torch.tensor(list(said[inputs[0]["image_id"]].values())) - torch.tensor([1.0, 1.0, 0.0, 0.0])
        instances.pred_boxes, instances.scores = Boxes(boxes), torch.tensor(list(said[inputs[0]["image_id"]]))
        instances.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
        return [{"instances": instances}]

    result, _ = evaluate(cfg, model, tmp_path / "output")
    detections = [(image, score, box) for image in said for score, box in said[image].items()]
    truth = {image: [(box, False) for _, *box in of_image] for image, of_image in objects.items()}
    expected = {y: 100 * average_precision(detections, truth, 0.5, y) for y in (2007, 2012)}
    assert abs(expected[2007] - expected[2012]) > 0.5
    assert result["bbox"]["AP50"] == pytest.approx(expected[year])


def test_the_best_hundred_are_written(voc_folder, tmp_path):
    cfg = voc_config(voc_folder({"a": IMAGES["b"]}), tmp_path)
    _, folder = evaluate(cfg, Oracle("tiny_test", repeat=80), tmp_path / "output")
    scores = lines_of(folder)[1]["a"]["scores"]
    assert len(scores) == 100
    assert scores == pytest.approx(np.linspace(0.5, 0.9, 160)[:-101:-1].tolist(), abs=1e-6)


def test_boxes_left_out_are_not_missed(voc_folder, tmp_path):
    root = voc_folder(IMAGES)
    (root / "Annotations" / "a.xml").write_text(voc_annotation([*IMAGES["a"], ("dog", 40, 10, 90, 30)], (60, 40)))
    with pytest.raises(DatasetError, match="box outside the image"):
        build_evaluator(voc_config(root, tmp_path), "tiny_test", str(tmp_path))
    cfg = voc_config(root, tmp_path, MALFORMED="leave_out")
    result, _ = evaluate(cfg, Oracle("tiny_test"), tmp_path)
    assert result["bbox"]["AP50-dog"] == pytest.approx(100)


def test_a_proposal_network_is_measured_by_recall(voc_folder, tmp_path):
    cfg = voc_config(voc_folder(IMAGES), tmp_path)
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    for _ in range(2):  # a second evaluation replaces the first one's set
        result, folder = evaluate(cfg, Oracle("tiny_test", "proposals"), tmp_path / "output")
    assert result["box_proposals"]["recall50@300"] == pytest.approx(100)
    assert result["box_proposals"]["proposals_per_image"] == pytest.approx(1)
    assert [path.name for path in folder.iterdir()] == ["proposals"]


def test_a_model_of_other_classes_is_refused(voc_folder, tmp_path):
    cfg = voc_config(voc_folder(IMAGES), tmp_path)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 20
    with pytest.raises(DatasetError, match="NUM_CLASSES is 20, but data set 'tiny_test' has 2 classes"):
        build_evaluator(cfg, "tiny_test", str(tmp_path))


def coco_config(tmp_path, policy):
    (tmp_path / "images").mkdir()
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.jpg", (60, 40))
    images = [
        {"id": i, "file_name": f, "width": 60, "height": 40} for i, f in enumerate(["a.jpg", "b.jpg", "gone.jpg"])
    ]
    boxes = [(0, 3, [1, 1, 20, 20]), (0, 8, [10, 5, 20, 20]), (1, 8, [1, 1, 20, 20]), (2, 8, [1, 1, 20, 20])]
    boxes.append((1, 8, [50, 1, 50, 10]))  # outside
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "bbox": b, "iscrowd": 0, "area": b[2] * b[3]}
        for n, (i, c, b) in enumerate(boxes, start=1)
    ]
    categories = [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}]
    for side in ("train", "test"):
        contents = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
        (tmp_path / f"{side}.json").write_text(json.dumps(contents))
    cfg = get_cfg()
    for side in ("TRAIN", "TEST"):
        cfg.DATASETS.COCO_JSON[f"{side}_JSON"] = str(tmp_path / f"{side.lower()}.json")
        cfg.DATASETS.COCO_JSON[f"{side}_IMAGES"] = str(tmp_path / "images")
    cfg.DATASETS.MALFORMED, cfg.OUTPUT_DIR = policy, str(tmp_path / "output")
    register_datasets(cfg)
    return cfg


class WithoutDogsInB(Oracle):
    def forward(self, inputs):
        outputs = super().forward(inputs)
        return [
            {"instances": output["instances"][:0]} if record["image_id"] == 1 else output
            for record, output in zip(inputs, outputs)
        ]


def test_coco_json_measures_by_class_what_is_not_left_out(tmp_path):
    cfg = coco_config(tmp_path, "leave_out")
    check_datasets(cfg)
    name = cfg.DATASETS.TEST[0]
    result, folder = evaluate(cfg, Oracle(name), tmp_path / "output")
    assert [result["bbox"][key] for key in ("AP", "AP50", "AP50-cat", "AP50-dog")] == pytest.approx([100] * 4)
    assert list(lines_of(folder)[1]) == [0, 1]
    result, _ = evaluate(cfg, WithoutDogsInB(name), tmp_path / "output")
    assert result["bbox"]["AP50-cat"] == pytest.approx(100)
    # one of two dogs: COCO interpolates at 101 recalls, of which 0.00 to 0.50 are reached
    assert result["bbox"]["AP50-dog"] == pytest.approx(100 * 51 / 101)
    assert result["bbox"]["AP50"] == pytest.approx((100 + 100 * 51 / 101) / 2)


def test_coco_json_images_of_another_size_are_not_missed(tmp_path):
    cfg = coco_config(tmp_path, "leave_out")
    for side in ("train", "test"):  # what is malformed here is in the image file alone
        path = tmp_path / f"{side}.json"
        contents = json.loads(path.read_text())
        contents["images"], contents["annotations"] = contents["images"][:2], contents["annotations"][:3]
        path.write_text(json.dumps(contents))
    write_image(tmp_path / "images" / "b.jpg", (30, 30))
    check_datasets(cfg)
    result, folder = evaluate(cfg, Oracle(cfg.DATASETS.TEST[0]), tmp_path / "output")
    assert list(lines_of(folder)[1]) == [0]
    assert result["bbox"]["AP50-dog"] == pytest.approx(100)


def test_several_processes_are_put_together_in_order(voc_folder, tmp_path, monkeypatch):
    cfg = voc_config(voc_folder(IMAGES), tmp_path)
    name = cfg.DATASETS.TEST[0]
    oracle, dicts = Oracle(name), load_dataset_dicts(name)
    shares = []  # by image, what each evaluator of a process hands to the main one: metric, then writer
    for record in reversed(dicts):
        evaluator = build_evaluator(cfg, name, str(tmp_path))
        evaluator.reset()
        evaluator.process([record], oracle([record]))
        with monkeypatch.context() as patch:
            patch.setattr(comm, "gather", lambda data, dst=0, share=shares: share.append(data) or [data])
            evaluator.evaluate()
    gathered = iter([shares[0::2], shares[1::2]])
    monkeypatch.setattr(comm, "gather", lambda data, dst=0: next(gathered))
    result = evaluator.evaluate()
    assert result["bbox"]["AP50"] == pytest.approx(100)
    assert list(lines_of(tmp_path / "inference" / name)[1]) == ["a", "b", "nothing"]
