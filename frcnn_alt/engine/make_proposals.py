"""Proposal sets for the data sets of a config, each by one function: computed from pixels, by a RPN, or imported.

``tools/make_proposals.py`` is their command line. A set goes to ``<folder>/<data set name>``; one that is finished and
is the one asked for is left as it is, one that was cut is gone on with.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.utils import comm

from ..checkpointing import file_sha256, load_whole_network, missing_files, pixels_of_config
from ..data import UnreadableImages, check_datasets, load_dataset_dicts
from ..proposals import (
    EdgeBoxes,
    ProposalSet,
    ResumableSet,
    SelectiveSearch,
    compute_from_pixels,
    compute_proposals,
    import_proposals,
    number_of_cores,
)
from .defaults import ConfigError
from .disk_space import require_disk_for_sets
from .meta_model import build_meta_model
from .network import RPN, configure_network

__all__ = ["import_set", "make_sets_by_rpn", "make_sets_from_pixels"]

logger = logging.getLogger(__name__)

IMAGES_PER_PART = 500  # of a RPN's: what a killed run does again at most

# What of MODEL does not change a RPN's proposals: where it runs and lies, and the parts behind it.
_NOT_OF_A_RPN = ("WEIGHTS", "DEVICE", "LOAD_PROPOSALS", "MASK_ON", "KEYPOINT_ON", "META_ARCHITECTURE")
_HEADS = ("ROI_", "SEM_SEG", "PANOPTIC", "RETINANET")
_SPLITS = {"train": ("TRAIN",), "test": ("TEST",), "both": ("TRAIN", "TEST")}

Make = Callable[[str, Path, List[Dict[str, Any]]], ProposalSet]


def _names(cfg: CfgNode, split: str) -> List[str]:
    if split not in _SPLITS:
        raise ConfigError(f"--split {split}: it is one of {', '.join(_SPLITS)}.")
    names = list(dict.fromkeys(name for side in _SPLITS[split] for name in cfg.DATASETS[side]))
    if not names:
        keys = " and ".join(f"DATASETS.{side}" for side in _SPLITS[split])
        raise ConfigError(f"There are no data sets to make proposals for: {keys} of the config are empty.")
    return names


def _make_sets(
    cfg: CfgNode, folder: str, names: List[str], make: Make, overwrite: bool, boxes: int = 0
) -> Dict[str, ProposalSet]:
    """Make a set for each data set; malformed data is listed, and the disk looked at, before the first one is begun.

    Args:
        boxes: at most so many of an image; 0 where nobody knows before.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = folder  # the list of what is malformed goes there
    paths = {name: Path(folder) / name for name in names}
    # A command that has nothing left to do opens no image.
    if overwrite or not all(path.exists() for path in paths.values()):
        check_datasets(cfg, names)
    if boxes:
        require_disk_for_sets([len(load_dataset_dicts(name)) for name in names], boxes, folder)
    return {name: make(name, path, load_dataset_dicts(name)) for name, path in paths.items()}


def make_sets_from_pixels(
    cfg: CfgNode,
    method: Union[SelectiveSearch, EdgeBoxes],
    folder: str,
    *,
    split: str = "both",
    processes: Optional[int] = None,
    overwrite: bool = False,
) -> Dict[str, ProposalSet]:
    """Selective Search or EdgeBoxes over DATASETS.TRAIN and DATASETS.TEST.

    Args:
        cfg: of `setup_cfg`.
        method: with its settings.
        folder: the set of a data set is ``<folder>/<its name>``.
        split: "train", "test" or "both".
        processes: that search images at the same time; None for one on each core.
        overwrite: make sets anew that are there.

    Returns:
        data set name -> its set.

    Raises:
        ConfigError: there is no data set.
        DatasetError: something malformed in the data; all of it is listed.
        ProposalSetError: see `compute_from_pixels`.
    """
    processes = number_of_cores() if processes is None else processes
    if processes < 1:
        raise ConfigError(f"--processes {processes}: it is 1 at least.")

    def make(name: str, path: Path, dicts: List[Dict[str, Any]]) -> ProposalSet:
        return compute_from_pixels(method, name, path, dicts, processes=processes, overwrite=overwrite)

    return _make_sets(cfg, folder, _names(cfg, split), make, overwrite, method.boxes)


def _rpn_settings(cfg: CfgNode) -> Dict[str, Any]:
    """The keys that a RPN's proposals depend on, by their full names."""
    settings: Dict[str, Any] = {}

    def collect(node: CfgNode, prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, CfgNode):
                collect(value, f"{prefix}{key}.")
            else:
                settings[f"{prefix}{key}"] = value

    for key, value in cfg.MODEL.items():
        if key in _NOT_OF_A_RPN or key.startswith(_HEADS):
            continue
        collect(CfgNode({key: value}), "MODEL.")
    for key in ("MIN_SIZE_TEST", "MAX_SIZE_TEST", "FORMAT"):
        settings[f"INPUT.{key}"] = cfg.INPUT[key]
    if cfg.MODEL.PIXEL_MEAN_IMAGE:
        settings["MODEL.PIXEL_MEAN_IMAGE"] = file_sha256(cfg.MODEL.PIXEL_MEAN_IMAGE)
    return settings


def make_sets_by_rpn(
    cfg: CfgNode, folder: str, *, split: str = "both", overwrite: bool = False
) -> Dict[str, ProposalSet]:
    """Proposals of the RPN of a trained network over DATASETS.TRAIN and DATASETS.TEST.

    How many there are is said by MODEL.RPN.PRE_NMS_TOPK_TEST, NMS_THRESH and POST_NMS_TOPK_TEST. Every process of a
    group has to call this.

    Args:
        cfg: after `find_trained_network`: MODEL.WEIGHTS is a network with a RPN.
        folder, split, overwrite: see `make_sets_from_pixels`.

    Raises:
        ConfigError: there is no data set, no network, or none with a RPN.
        CheckpointError: the network is another one than the config's.
        DatasetError, ProposalSetError: see `make_sets_from_pixels`.
    """
    names = _names(cfg, split)
    if not cfg.MODEL.WEIGHTS or missing_files(cfg.MODEL.WEIGHTS):
        raise ConfigError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} does not exist: give the config.yaml of a finished run, or add "
            "MODEL.WEIGHTS <file> at the end of the command."
        )
    cfg = cfg.clone()
    cfg.defrost()
    learns = False
    if not cfg.MODEL.LOAD_PROPOSALS:
        configure_network(cfg, RPN)
        learns = any(True for _ in build_meta_model(cfg).proposal_generator.parameters())
    if not learns:
        raise ConfigError(
            "The network of this config has no RPN: its detector is given its proposals (MODEL.LOAD_PROPOSALS), or "
            f"MODEL.PROPOSAL_GENERATOR.NAME {cfg.MODEL.PROPOSAL_GENERATOR.NAME!r} is one that learns nothing. Give the "
            "config.yaml of a run of another schedule, or of a step that trains a RPN."
        )
    settings = {
        "method": "rpn",
        "weights_sha256": [file_sha256(file) for file in cfg.MODEL.WEIGHTS.split(",")],
        "config": _rpn_settings(cfg),
    }
    model: List[Any] = []  # built when a set is not finished

    def make(name: str, path: Path, dicts: List[Dict[str, Any]]) -> ProposalSet:
        resumable = ResumableSet(path, name, dicts, settings, overwrite=overwrite)
        if resumable.finished is not None:
            logger.info("Proposals of %s: finished already, %s", name, path)
            return resumable.finished
        if not model:
            model.append(build_model(cfg))
            load_whole_network(model[0], cfg.MODEL.WEIGHTS, pixels_of_config(cfg))
        if comm.is_main_process():
            resumable.missing()  # removes what a crash has left
        comm.synchronize()
        missing = resumable.missing()
        unreadable = UnreadableImages(cfg, len(dicts))
        for start in range(0, len(missing), IMAGES_PER_PART):
            part = resumable.next_part()
            comm.synchronize()  # nobody writes before all know where
            some = missing[start : start + IMAGES_PER_PART]
            logger.info("Proposals of %s: from image %d of %d on", name, len(dicts) - len(missing) + start, len(dicts))
            about = resumable.metadata
            compute_proposals(cfg, model[0], name, part, some, extra_metadata=about, unreadable=unreadable)
        if comm.is_main_process():
            resumable.merge()
        comm.synchronize()
        return ProposalSet(path)

    return _make_sets(cfg, folder, names, make, overwrite, cfg.MODEL.RPN.POST_NMS_TOPK_TEST)


def _hash_of(path: str) -> str:
    """Of a file's bytes; of a folder's names and sizes, none where there is nothing."""
    if os.path.isfile(path):
        return file_sha256(path)
    files = sorted(Path(path).rglob("*"))
    about = [f"{file.relative_to(path)} {file.stat().st_size}" for file in files if file.is_file()]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def import_set(
    cfg: CfgNode,
    path: str,
    file_format: str,
    dataset_name: str,
    folder: str,
    *,
    drop_duplicate_and_tiny: bool = False,
    overwrite: bool = False,
) -> Dict[str, ProposalSet]:
    """Import a published file for one data set that `cfg` knows: `import_proposals` once the data set is checked.

    Raises:
        ConfigError: nobody registered the data set.
        DatasetError: something malformed in it; all of it is listed.
        ProposalSetError: see `import_proposals`.
    """
    if dataset_name not in DatasetCatalog:
        known = ", ".join(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
        raise ConfigError(f"--dataset {dataset_name}: no data set has this name; those of the config are {known}.")

    def make(name: str, output: Path, dicts: List[Dict[str, Any]]) -> ProposalSet:
        options = {"drop_duplicate_and_tiny": drop_duplicate_and_tiny}
        settings = {"method": "import", "format": file_format, "sha256": _hash_of(path), **options}
        resumable = ResumableSet(output, name, dicts, settings, overwrite=overwrite)
        if resumable.finished is not None:
            logger.info("Proposals of %s: imported already, %s", name, output)
            return resumable.finished
        about = resumable.metadata
        return import_proposals(path, file_format, name, output, dicts, **options, extra_metadata=about)

    return _make_sets(cfg, folder, [dataset_name], make, overwrite)
