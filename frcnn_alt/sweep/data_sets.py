"""The data sets of several configs in one process, each as if it were the only one."""

import contextlib
import json
from typing import Iterator

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

__all__ = ["data_of", "own_catalogs", "test_data_of"]


@contextlib.contextmanager
def own_catalogs() -> Iterator[None]:
    """Forget the data sets that the block registers, so that they are called as in a task's own process.

    Of two folders of one name, what is registered second would get another name here.
    """
    before = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    try:
        yield
    finally:
        for catalog, data in before:
            catalog.data = data


def data_of(cfg: CfgNode) -> str:
    """What tells whether two configs mean the same images."""
    return json.dumps([cfg.DATASETS[key] for key in ("TRAIN", "TEST", "VOC_LAYOUT", "COCO_JSON", "MALFORMED")])


def test_data_of(cfg: CfgNode) -> str:
    """The same of the images that a detector is tested on."""
    voc, coco = cfg.DATASETS.VOC_LAYOUT, cfg.DATASETS.COCO_JSON
    where = [voc.ROOT, coco.TEST_JSON, coco.TEST_IMAGES]  # two folders may have data sets of one name
    return json.dumps([cfg.DATASETS.TEST, where, cfg.DATASETS.MALFORMED])
