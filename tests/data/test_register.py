"""Data sets from config keys alone: names, classes, clashes, and errors that name the key."""

import json

from frcnn_alt import get_cfg
from frcnn_alt.data import DatasetError, load_dataset_dicts, register_datasets

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_pascal_voc
from voc_files import write_image

pytestmark = pytest.mark.usefixtures("own_catalogs")

IMAGES = {"a": [("dog", 2, 2, 30, 30), ("cat", 5, 6, 20, 30, 1)], "b": [("dog", 2, 2, 30, 30)]}
SPLITS = {"trainval": ["a"], "test": ["b"]}


def config(*opts):
    cfg = get_cfg()
    cfg.merge_from_list([str(opt) if not isinstance(opt, (tuple, list)) else opt for opt in opts])
    return cfg


def test_the_demos_images_are_generated_first(tmp_path):
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT = str(tmp_path / "shapes")
    with pytest.raises(DatasetError, match="no folder .*shapes. `python -m frcnn_alt.data.shapes --output"):
        register_datasets(cfg)


def test_a_folder_is_enough(voc_folder):
    cfg = config("DATASETS.VOC_LAYOUT.ROOT", voc_folder(IMAGES, name="pets", splits=SPLITS))
    register_datasets(cfg)
    assert cfg.DATASETS.TRAIN == ("pets_trainval",)
    assert cfg.DATASETS.TEST == ("pets_test",)
    assert cfg.DATASETS.VOC_LAYOUT.CLASSES == ("cat", "dog")
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    metadata = MetadataCatalog.get("pets_test")
    assert (metadata.thing_classes, metadata.year, metadata.evaluator_type) == (["cat", "dog"], 2007, "pascal_voc")
    for load in (load_dataset_dicts, DatasetCatalog.get):
        assert [record["image_id"] for record in load("pets_trainval")] == ["a"]


def test_registering_again_changes_nothing_even_when_frozen(voc_folder):
    cfg = config("DATASETS.VOC_LAYOUT.ROOT", voc_folder(IMAGES))
    register_datasets(cfg)
    before = cfg.dump()
    cfg.freeze()
    register_datasets(cfg)
    assert cfg.dump() == before
    fresh = config("DATASETS.VOC_LAYOUT.ROOT", cfg.DATASETS.VOC_LAYOUT.ROOT)
    fresh.freeze()
    with pytest.raises(DatasetError, match="frozen"):
        register_datasets(fresh)


def test_classes_of_the_key_come_first(voc_folder):
    root = voc_folder(IMAGES, classes=["cat", "dog"])
    cfg = config("DATASETS.VOC_LAYOUT.ROOT", root, "DATASETS.VOC_LAYOUT.CLASSES", ("dog", "cat", "cow"))
    register_datasets(cfg)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert load_dataset_dicts(cfg.DATASETS.TRAIN[0])[0]["annotations"][0]["category_id"] == 0
    with pytest.raises(DatasetError, match="CLASSES names a class twice"):
        register_datasets(config("DATASETS.VOC_LAYOUT.ROOT", root, "DATASETS.VOC_LAYOUT.CLASSES", ("dog", "dog")))


def test_folders_of_one_name_are_kept_apart(voc_folder):
    first, second = voc_folder({"one": []}, name="x/pets", classes=["dog"]), voc_folder(IMAGES, name="y/pets")
    cfgs = [config("DATASETS.VOC_LAYOUT.ROOT", root) for root in (first, second)]
    for cfg in cfgs:
        register_datasets(cfg)
    names = [cfg.DATASETS.TRAIN[0] for cfg in cfgs]
    assert names[0] == "pets_trainval" and names[1].startswith("pets_trainval_")
    assert [len(load_dataset_dicts(name)) for name in names] == [1, 2]
    # a process that gets the finished config of the second registers the same name, whatever it has seen
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    cfgs[1].freeze()
    register_datasets(cfgs[1])
    assert len(load_dataset_dicts(names[1])) == 2


@pytest.mark.parametrize(
    ("opts", "text"),
    [
        (
            ("DATASETS.VOC_LAYOUT.ROOT", "/nowhere/at/all"),
            "VOC_LAYOUT.ROOT is '/nowhere/at/all', but there is no folder",
        ),
        (("DATASETS.VOC_LAYOUT.TRAIN_SPLITS", ("val",)), "TRAIN_SPLITS names val, .* it has test, trainval"),
        (("DATASETS.VOC_LAYOUT.TEST_SPLITS", ("val",)), "TEST_SPLITS names val"),
        (("DATASETS.VOC_LAYOUT.TRAIN_SPLITS", ()), "TRAIN_SPLITS is empty"),
        (("DATASETS.COCO_JSON.TRAIN_JSON", "some.json"), "VOC_LAYOUT.ROOT and DATASETS.COCO_JSON are both set"),
        (("DATASETS.MALFORMED", "ignore"), "DATASETS.MALFORMED is 'ignore'; it must be one of stop, leave_out"),
    ],
)
def test_a_mistake_is_answered_with_its_key(voc_folder, opts, text):
    with pytest.raises(DatasetError, match=text):
        register_datasets(config("DATASETS.VOC_LAYOUT.ROOT", voc_folder(IMAGES), *opts))


def test_the_folder_above_is_recognised(voc_folder):
    root = voc_folder(IMAGES, name="VOCdevkit/VOC2007")
    with pytest.raises(DatasetError, match="Did you mean .*VOCdevkit/VOC2007"):
        register_datasets(config("DATASETS.VOC_LAYOUT.ROOT", root.parent))


def test_no_test_split_is_fine(voc_folder):
    cfg = config("DATASETS.VOC_LAYOUT.ROOT", voc_folder(IMAGES), "DATASETS.VOC_LAYOUT.TEST_SPLITS", ())
    register_datasets(cfg)
    assert cfg.DATASETS.TEST == ()


def test_unknown_name_says_how_to_get_one():
    with pytest.raises(DatasetError, match="VOC_LAYOUT.ROOT.*voc_2007_test"):
        load_dataset_dicts("my_pets")


def test_builtin_voc_names_leave_difficult_out_and_stay_in_the_catalog(voc_folder, monkeypatch):
    root = voc_folder({"a": [("dog", 2, 2, 30, 30, 1), ("cat", 5, 6, 20, 30, 0)]}, name="VOC2007")
    stock = DatasetCatalog["voc_2007_trainval"]
    with pytest.raises(DatasetError, match="missing folder.*host.robots.ox.ac.uk.*DETECTRON2_DATASETS"):
        load_dataset_dicts("voc_2007_trainval")
    monkeypatch.setitem(MetadataCatalog.get("voc_2007_trainval").__dict__, "dirname", str(root))
    annotations = load_dataset_dicts("voc_2007_trainval")[0]["annotations"]
    assert [(o["category_id"], o["iscrowd"]) for o in annotations] == [(11, 1), (7, 0)]  # dog, cat, alphabetically
    assert DatasetCatalog["voc_2007_trainval"] is stock


def test_number_of_classes_of_data_sets_that_the_config_names():
    cfg = config("DATASETS.TRAIN", ("voc_2007_trainval", "voc_2012_trainval"), "MODEL.ROI_HEADS.NUM_CLASSES", "80")
    register_datasets(cfg)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 20
    register_pascal_voc("other", "nowhere", "trainval", 2007, class_names=("dog",))
    with pytest.raises(DatasetError, match="different classes"):
        register_datasets(config("DATASETS.TRAIN", ("voc_2007_trainval", "other")))


def coco_files(folder, categories=((7, "dog"), (3, "cat"))):
    for side, image_id in (("train", 5), ("val", 9)):
        (folder / side).mkdir(parents=True)
        write_image(folder / side / "a.jpg", (60, 40))
        contents = {
            "images": [{"id": image_id, "file_name": "a.jpg", "width": 60, "height": 40}],
            "annotations": [{"id": 1, "image_id": image_id, "category_id": 7, "bbox": [1, 2, 10, 20], "iscrowd": 0}],
            "categories": [{"id": number, "name": name} for number, name in categories],
        }
        contents["annotations"][0]["area"] = 200
        (folder / f"{side}.json").write_text(json.dumps(contents))
    return {
        "DATASETS.COCO_JSON.TRAIN_JSON": folder / "train.json",
        "DATASETS.COCO_JSON.TRAIN_IMAGES": folder / "train",
        "DATASETS.COCO_JSON.TEST_JSON": folder / "val.json",
        "DATASETS.COCO_JSON.TEST_IMAGES": folder / "val",
    }


def flat(opts):
    return [part for item in opts.items() for part in item]


def test_coco_json(tmp_path):
    cfg = config(*flat(coco_files(tmp_path)))
    register_datasets(cfg)
    register_datasets(cfg)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("train_train",), ("val_val",))
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    record = load_dataset_dicts("train_train")[0]
    assert record["annotations"][0]["category_id"] == 1  # in order of id: cat, dog
    assert MetadataCatalog.get("train_train").thing_classes == ["cat", "dog"]


def test_coco_json_mistakes(tmp_path):
    opts = coco_files(tmp_path)
    with pytest.raises(DatasetError, match="COCO_JSON.TRAIN_IMAGES is ''"):
        register_datasets(config(*flat({**opts, "DATASETS.COCO_JSON.TRAIN_IMAGES": ""})))
    with pytest.raises(DatasetError, match="COCO_JSON.TEST_JSON is .*there is no file"):
        register_datasets(config(*flat({**opts, "DATASETS.COCO_JSON.TEST_JSON": tmp_path / "gone.json"})))
    with pytest.raises(DatasetError, match="TRAIN_JSON is empty"):
        register_datasets(config(*flat({**opts, "DATASETS.COCO_JSON.TRAIN_JSON": ""})))
    others = coco_files(tmp_path / "others", categories=((1, "dog"), (7, "cat")))
    mixed = {**opts, **{key: value for key, value in others.items() if "TEST" in key}}
    with pytest.raises(DatasetError, match="a class would be taken for another"):
        register_datasets(config(*flat(mixed)))


@pytest.mark.parametrize(("name", "sizes", "classes"), [("bccd", (292, 72), 3), ("cards", (296, 67), 6)])
def test_real_folders(real_data, name, sizes, classes):
    cfg = config("DATASETS.VOC_LAYOUT.ROOT", real_data(name))
    register_datasets(cfg)
    loaded = [len(load_dataset_dicts(n)) for n in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)]
    assert (tuple(loaded), cfg.MODEL.ROI_HEADS.NUM_CLASSES) == (sizes, classes)
