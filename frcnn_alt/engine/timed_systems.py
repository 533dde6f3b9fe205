"""From the command line of ``tools/benchmark_parts.py`` to systems that can be timed: configs, weights, images.

Several configs in one command become several systems, over the first images of their own test sets or all over the
same images of a folder or of noise.
"""

import argparse
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from torch import nn

from ..checkpointing import CheckpointError, load_whole_network, missing_files, pixels_of_config
from ..data import DatasetError, load_dataset_dicts
from ..data.images import check_image_files
from ..data.problems import describe_problems
from ..data.sample_images import add_random_regions
from ..evaluation import TimedSystem, is_split
from ..proposals import ProposalDatasetMapper
from .checks import check_config
from .defaults import ConfigError, setup_cfg
from .stored_proposals import open_proposal_sets
from .trained_network import find_trained_network

__all__ = ["SystemToTime", "build_systems"]

_INSTEAD = "--image-folder FOLDER takes the images of a folder instead, --image-size 600x800 makes images of noise"
_NO_DATA = ["DATASETS.VOC_LAYOUT.ROOT", "", "DATASETS.COCO_JSON.TRAIN_JSON", "", "DATASETS.COCO_JSON.TEST_JSON", ""]


class SystemToTime(NamedTuple):
    """A system and what a table says of it.

    Attributes:
        system: to be timed.
        facts: "config" (the files it was made of), "weights" (the file, or "random"), "device", "images_from", and
            "proposals_from", which is None where the system makes its own.
    """

    system: TimedSystem
    facts: Dict[str, Optional[str]]


def build_systems(
    args: argparse.Namespace, given_images: Sequence[Dict[str, Any]] = (), images_from: str = ""
) -> List[SystemToTime]:
    """Build the systems that `args` name; nothing is measured yet.

    Args:
        args: with ``config_file`` (a list; each a file, or a file and its overlays with commas between), ``overlay``,
            ``modules`` and ``opts`` as of `default_argument_parser`; ``name`` (a list, empty or one for each config),
            ``images`` (how many), ``random_weights`` and ``proposal_time`` (milliseconds or None).
        given_images: dictionaries of images for all systems; none takes those of each config's DATASETS.TEST. A
            detector on stored proposals is then given random boxes, DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST of them.
        images_from: what to say of `given_images`.

    Raises:
        ConfigError: a config cannot be used, is of no R-CNN, or has no weights.
        DatasetError: there are no images, or some cannot be read.
        CheckpointError: the weights are not of the config.
    """
    names = args.name or [_default_name(files, args.overlay) for files in args.config_file]
    if len(names) != len(args.config_file):
        raise ConfigError(f"--name is given {len(names)} times for {len(args.config_file)} of --config-file.")
    if len(set(names)) < len(names):
        raise ConfigError(f"Two systems are called alike ({', '.join(names)}): give each a --name.")
    systems = [
        _build_system(args, files, name, given_images, images_from) for files, name in zip(args.config_file, names)
    ]
    if args.proposal_time is not None and all(one.facts["proposals_from"] is None for one in systems):
        raise ConfigError("--proposal-time is for detectors on stored proposals, and all of these make their own.")
    return systems


def _default_name(files: str, overlays: Sequence[str]) -> str:
    return "_".join(os.path.splitext(os.path.basename(file))[0] for file in (*files.split(","), *overlays))


def _build_system(
    args: argparse.Namespace, files: str, name: str, given_images: Sequence[Dict[str, Any]], images_from: str
) -> SystemToTime:
    config_file, *overlays = files.split(",")
    overlays += args.overlay
    of_system = argparse.Namespace(config_file=config_file, overlay=overlays, modules=args.modules, opts=args.opts)
    cfg = _build_cfg(of_system, needs_data=not given_images)
    find_trained_network(cfg, of_system)
    _settle_weights(cfg, args.random_weights, name)
    problems = check_config(cfg, trains=False)
    if problems:
        raise ConfigError("\n".join(problems))
    records, images_from = (given_images, images_from) if given_images else _test_images(cfg, args.images)
    prepare, records, proposals_from = _with_proposals(cfg, records, bool(given_images))
    facts = {
        "config": " + ".join([config_file, *overlays]),
        "weights": cfg.MODEL.WEIGHTS or "random",
        "device": cfg.MODEL.DEVICE,
        "images_from": images_from,
        "proposals_from": proposals_from,
    }
    return SystemToTime(TimedSystem(name, _build_model(cfg), prepare, records, args.proposal_time), facts)


def _build_cfg(of_system: argparse.Namespace, *, needs_data: bool) -> CfgNode:
    try:
        return setup_cfg(of_system)
    except DatasetError as error:
        if needs_data:
            raise DatasetError(f"{error} {_INSTEAD}.") from error
        # The network's own data need not be on this machine; what has to be known about them is in a run's config.
        of_system.opts = [*of_system.opts, *_NO_DATA]
        return setup_cfg(of_system)


def _settle_weights(cfg: CfgNode, random_weights: bool, name: str) -> None:
    if random_weights:
        cfg.MODEL.WEIGHTS = ""
    elif not cfg.MODEL.WEIGHTS or missing_files(cfg.MODEL.WEIGHTS):
        raise ConfigError(
            f"{name}: MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} does not exist. Give the config.yaml of a finished run, or "
            "MODEL.WEIGHTS <file>; --random-weights measures without, where NMS has other numbers of boxes."
        )


def _build_model(cfg: CfgNode) -> nn.Module:
    seed_all_rng(max(cfg.SEED, 0))
    try:
        model = build_model(cfg)
    except Exception as error:  # whatever a component's constructor objects to is the user's to mend
        raise ConfigError(f"The network cannot be built: {type(error).__name__}: {error}") from error
    if not is_split(model):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} is no R-CNN: it has no proposal generator and no "
            "RoI heads, whose time could be told from that of the rest."
        )
    if cfg.MODEL.WEIGHTS:
        try:
            load_whole_network(model, cfg.MODEL.WEIGHTS, pixels_of_config(cfg))
        except CheckpointError as error:
            raise CheckpointError(f"{error} --random-weights measures without weights.") from error
    return model


def _test_images(cfg: CfgNode, number: int) -> Tuple[List[Dict[str, Any]], str]:
    """The first images of DATASETS.TEST, without their objects, which take part in nothing."""
    if not cfg.DATASETS.TEST:
        raise DatasetError(f"DATASETS.TEST is empty: there are no images to measure on. {_INSTEAD}.")
    records: List[Dict[str, Any]] = []
    for dataset in cfg.DATASETS.TEST:
        try:
            dicts = load_dataset_dicts(dataset)
        except DatasetError as error:
            raise DatasetError(f"{error} {_INSTEAD}.") from error
        for record in dicts[: number - len(records)]:
            records.append({**{k: v for k, v in record.items() if k != "annotations"}, "dataset_name": dataset})
    problems = check_image_files(records)
    if problems:
        raise DatasetError(f"Images cannot be measured on: {describe_problems(problems, max_lines=50)}")
    if not records:
        raise DatasetError(f"{', '.join(cfg.DATASETS.TEST)}: there are no images to measure on. {_INSTEAD}.")
    return records, f"the first of {', '.join(cfg.DATASETS.TEST)}"


def _with_proposals(
    cfg: CfgNode, records: Sequence[Dict[str, Any]], given_images: bool
) -> Tuple[Callable[[Dict[str, Any]], Dict[str, Any]], List[Dict[str, Any]], Optional[str]]:
    """What prepares an image, the images, and where stored proposals come from."""
    if not cfg.MODEL.LOAD_PROPOSALS:
        return DatasetMapper(cfg, is_train=False), list(records), None
    if given_images:
        number = cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST
        return DatasetMapper(cfg, is_train=False), add_random_regions(list(records), number), "random boxes"
    try:
        sets = open_proposal_sets(cfg, "TEST")
    except ConfigError as error:
        raise ConfigError(f"{error} {_INSTEAD}, with random boxes for proposals.") from error
    files = ", ".join(cfg.DATASETS.PROPOSAL_FILES_TEST)
    return ProposalDatasetMapper(cfg, False, proposal_sets=sets), list(records), files
