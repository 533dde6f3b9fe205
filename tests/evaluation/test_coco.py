"""COCO's metric over json files that detectron2's evaluator alone would stop at, or miscount."""

import json

from frcnn_alt import get_cfg
from frcnn_alt.data import check_datasets, register_datasets
from frcnn_alt.evaluation import build_evaluator

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from voc_files import write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")

# image id, category id, x, y, width, height
OBJECTS = [(1, 8, 2, 2, 20, 10), (1, 3, 5, 20, 30, 15), (2, 8, 10, 10, 40, 20), (2, 8, 1, 1, 8, 8)]
LABELS = {3: 0, 8: 1}  # classes are in the order of the ids: cat, dog


def results(tmp_path, change, policy="stop", missed=()):
    """What a detector is given that finds OBJECTS but for the indices `missed`; `change` is done to the json."""
    (tmp_path / "images").mkdir()
    for image_id in (1, 2):
        write_image(tmp_path / "images" / f"{image_id}.jpg", (60, 40))
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 40} for i in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": box, "iscrowd": 0, "area": box[2] * box[3]}
            for n, (i, c, *box) in enumerate(OBJECTS, start=1)
        ],
        "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    change(data)
    (tmp_path / "own.json").write_text(json.dumps(data))
    cfg = get_cfg()
    for side in ("TRAIN", "TEST"):
        cfg.DATASETS.COCO_JSON[f"{side}_JSON"] = str(tmp_path / "own.json")
        cfg.DATASETS.COCO_JSON[f"{side}_IMAGES"] = str(tmp_path / "images")
    cfg.DATASETS.MALFORMED, cfg.OUTPUT_DIR = policy, str(tmp_path / "output")
    register_datasets(cfg)
    check_datasets(cfg)
    evaluator = build_evaluator(cfg, cfg.DATASETS.TEST[0], cfg.OUTPUT_DIR)
    evaluator.reset()
    for number, image in enumerate(data["images"], start=1):
        found = [o for n, o in enumerate(OBJECTS) if o[0] == number and n not in missed]
        instances = Instances((40, 60))
        instances.pred_boxes = Boxes(torch.tensor([[x, y, x + w, y + h] for _, _, x, y, w, h in found]).float())
        instances.scores = torch.linspace(0.9, 0.5, len(found))
        instances.pred_classes = torch.tensor([LABELS[category] for _, category, *_ in found])
        evaluator.process([{"image_id": image["id"], "width": 60, "height": 40}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


def average_precisions(tmp_path, change, **others):
    bbox = results(tmp_path, change, **others)
    return [bbox[key] for key in ("AP", "AP50", "AP50-cat", "AP50-dog")]


def each(function):
    """A change of each annotation."""
    return lambda data: [function(annotation) for annotation in data["annotations"]]


@pytest.mark.parametrize("key", ["iscrowd", "area"])
def test_a_json_without_a_key_that_training_never_needs(key, tmp_path):
    assert average_precisions(tmp_path, each(lambda a: a.pop(key))) == pytest.approx([100] * 4)


def test_sizes_of_objects_are_those_of_their_boxes(tmp_path):
    """32 x 32 pixels is where COCO's small objects end; 40 x 20 is smaller too."""

    def change(data):
        for annotation in data["annotations"]:
            del annotation["area"]
        data["annotations"][3]["bbox"] = [1, 1, 40, 38]

    bbox = results(tmp_path, change, missed=[3])
    assert bbox["APs"] == pytest.approx(100) and bbox["APm"] == 0


@pytest.mark.parametrize("new_id", [lambda old: old - 1, lambda old: f"object {old}"], ids=["from 0", "texts"])
def test_annotation_ids_are_no_matter(new_id, tmp_path):
    """COCO's evaluation writes the matched object's id where 0 means none, and cannot write a text."""
    change = each(lambda annotation: annotation.update(id=new_id(annotation["id"])))
    assert average_precisions(tmp_path, change) == pytest.approx([100] * 4)


def test_image_ids_may_be_texts(tmp_path):
    def change(data):
        for entry, key in [*((i, "id") for i in data["images"]), *((a, "image_id") for a in data["annotations"])]:
            entry[key] = f"{entry[key]}"

    assert average_precisions(tmp_path, change) == pytest.approx([100] * 4)


def test_what_is_left_out_does_not_stop_the_evaluation(tmp_path):
    """detectron2's evaluator indexes the file by image_id, which an annotation left out need not have."""
    change = lambda data: data["annotations"].append({"id": 9, "bbox": [1, 1, 5, 5]})  # noqa: E731
    assert average_precisions(tmp_path, change, policy="leave_out") == pytest.approx([100] * 4)


def test_a_class_without_objects_is_no_number(tmp_path):
    """Of the objects of the other class two thirds are found: COCO reaches 67 of its 101 recalls."""
    change = lambda data: data["annotations"].pop(1)  # noqa: E731
    ap, ap50, cat, dog = average_precisions(tmp_path, change, missed=[3])
    assert cat != cat
    assert [ap, ap50, dog] == pytest.approx([100 * 67 / 101] * 3)


def test_a_set_that_detectron2_turned_into_a_json_is_evaluated_again(tmp_path):
    """The first evaluator leaves its json's name in the metadata, where there is no folder of images."""
    record = {"file_name": "1.jpg", "image_id": 1, "width": 60, "height": 40, "annotations": []}
    DatasetCatalog.register("own_dictionaries", lambda: [record])
    MetadataCatalog.get("own_dictionaries").thing_classes = ["cat", "dog"]
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    for _ in range(2):
        assert build_evaluator(cfg, "own_dictionaries", str(tmp_path))
    assert MetadataCatalog.get("own_dictionaries").json_file.startswith(str(tmp_path))


def test_no_stand_in_is_left_in_the_catalog(tmp_path):
    results(tmp_path, each(lambda annotation: annotation.pop("iscrowd")))
    assert [name for name in MetadataCatalog.list() if "images_own" in name] == ["images_own"]
