"""The data sets of several configs in one process, each as if it were the only one."""

import contextlib
import hashlib
import json
from typing import Iterator

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

__all__ = ["config_of", "data_of", "own_catalogs"]


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


def config_of(cfg: CfgNode) -> str:
    """Hash of all that a config says."""
    return hashlib.sha256(json.dumps(cfg, sort_keys=True).encode()).hexdigest()


def data_of(cfg: CfgNode) -> str:
    """What tells whether two configs mean the same images."""
    return json.dumps([cfg.DATASETS[key] for key in ("TRAIN", "TEST", "VOC_LAYOUT", "COCO_JSON", "MALFORMED")])
