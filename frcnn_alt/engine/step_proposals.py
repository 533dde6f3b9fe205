"""The proposal sets between the steps: where they lie, how they are written and verified, which ones a step reads.

A Fast R-CNN step trains on the sets over the training images and, with SCHEDULE.PROPOSALS.FLIPPED_IMAGES "recomputed",
on second ones over the same images flipped. The sets over the test images are there to measure recall; a test image is
never flipped.
"""

import logging
import os
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from ..data import load_dataset_dicts
from ..evaluation import proposal_recall
from ..proposals import ProposalSet, ProposalSetError, compute_proposals, has_settings
from .defaults import ConfigError
from .manifest import Manifest

__all__ = ["ProposalInputs", "has_proposals", "inputs_from_files", "inputs_from_step", "proposal_path"]
__all__ += ["folder_of_proposals", "verify_content", "verify_proposals", "write_proposals"]

logger = logging.getLogger(__name__)


def proposal_path(output_dir: str, dataset_name: str, *, flipped: bool = False) -> str:
    """The folder of the proposal set over a data set, or over its flipped images, below a step's folder."""
    # With a dot: a split of somebody's VOC-layout folder may well be called "trainval_flipped".
    return os.path.join(output_dir, "proposals", f"{dataset_name}.flipped" if flipped else dataset_name)


def write_proposals(
    cfg: CfgNode, model: nn.Module, *, recompute_flipped: bool
) -> Tuple[Dict[str, Dict[str, Any]], Dict[str, Any]]:
    """Write the proposals of a trained network over DATASETS.TRAIN and DATASETS.TEST below cfg.OUTPUT_DIR.

    Args:
        cfg: the RPN step's config.
        model: a proposal network.
        recompute_flipped: write a second set for each of DATASETS.TRAIN, over its flipped images.

    Returns:
        The outputs "proposals" and, if asked for, "flipped_proposals" of the step's manifest entry (data set name ->
        path, sha256, images); and the recall over each test set.
    """
    written: Dict[str, Dict[str, Any]] = {}
    recall: Dict[str, Any] = {}

    def write(output: str, name: str, flipped: bool) -> ProposalSet:
        path = proposal_path(cfg.OUTPUT_DIR, name, flipped=flipped)
        proposals = compute_proposals(cfg, model, name, path, load_dataset_dicts(name), flipped=flipped)
        about = {"path": path, "sha256": proposals.sha256, "images": len(proposals)}
        written.setdefault(output, {})[name] = about
        return proposals

    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        proposals = write("proposals", name, flipped=False)
        if name in cfg.DATASETS.TEST:
            recall[name] = proposal_recall(proposals, load_dataset_dicts(name))
            shown = {key: round(recall[name][key], 1) for key in ("recall50@300", "recall70@300", "AR@300")}
            logger.info("Proposals of %s: %s", name, shown)
    if recompute_flipped:
        for name in cfg.DATASETS.TRAIN:
            write("flipped_proposals", name, flipped=True)
    return written, recall


def _sets(names: Sequence[str], recompute_flipped: bool) -> Iterator[Tuple[str, bool]]:
    for flipped in (False, True) if recompute_flipped else (False,):
        for name in names:
            yield name, flipped


@dataclass(frozen=True)
class ProposalInputs:
    """The proposal sets that a Fast R-CNN step reads; an RPN step or a joint one reads none.

    Attributes:
        files: of DATASETS.TRAIN, in its order.
        files_test: of DATASETS.TEST.
        flipped_files: over the flipped images of DATASETS.TRAIN; none where those of the images are mirrored.
        hashes: of each set that is trained on, its sha256.
    """

    files: Tuple[str, ...] = ()
    files_test: Tuple[str, ...] = ()
    flipped_files: Tuple[str, ...] = ()
    hashes: Dict[str, str] = field(default_factory=dict)


def inputs_from_files(cfg: CfgNode) -> ProposalInputs:
    """DATASETS.PROPOSAL_FILES_TRAIN and _TEST; a flipped image has the proposals of the image, mirrored.

    Raises:
        ProposalSetError: a set is not there, or is damaged as far as its index and sizes show.
    """
    files = tuple(cfg.DATASETS.PROPOSAL_FILES_TRAIN)
    hashes = {name: ProposalSet(file).sha256 for name, file in zip(cfg.DATASETS.TRAIN, files)}
    return ProposalInputs(files, tuple(cfg.DATASETS.PROPOSAL_FILES_TEST), (), hashes)


def inputs_from_step(
    cfg: CfgNode, manifest: Manifest, step: str, output_dir: str, *, recompute_flipped: bool
) -> ProposalInputs:
    """What the RPN step called `step` left in `output_dir`, as the manifest has it."""
    names = cfg.DATASETS.TRAIN
    hashes = {
        f"{name}, flipped" if flipped else name: manifest.output_hash(step, name, flipped=flipped)
        for name, flipped in _sets(names, recompute_flipped)
    }
    return ProposalInputs(
        tuple(proposal_path(output_dir, name) for name in names),
        tuple(proposal_path(output_dir, name) for name in cfg.DATASETS.TEST),
        tuple(proposal_path(output_dir, name, flipped=True) for name in (names if recompute_flipped else ())),
        hashes,
    )


def verify_proposals(
    manifest: Manifest, step: str, output_dir: str, names: Sequence[str], *, recompute_flipped: bool
) -> None:
    """Compare the sets in `output_dir`, the folder of the RPN step called `step`, with what the manifest says of them.

    Raises:
        ConfigError: a set is another one than the step wrote.
        ProposalSetError: a set is not there, or is damaged as far as its index and sizes show.
    """
    for name, flipped in _sets(names, recompute_flipped):
        path = proposal_path(output_dir, name, flipped=flipped)
        if ProposalSet(path).sha256 != manifest.output_hash(step, name, flipped=flipped):
            raise ConfigError(
                f"{path} is not the proposal set that {step} wrote: restore it, or make that step and those "
                f"after it anew: --restart-from {step}."
            )


def verify_content(files: Sequence[str], mend: str = "") -> None:
    """Read proposal sets, on the main process, and compare their boxes and scores with the hashes in their indices.

    Args:
        files: folders of the sets.
        mend: what computes a damaged one again, for the message.

    Raises:
        ProposalSetError: one was changed or damaged after it was written.
    """
    if comm.is_main_process():
        try:
            for file in files:
                ProposalSet(file).verify()
        except ProposalSetError as error:
            raise ProposalSetError(f"{error}. {mend}".rstrip()) from error
    comm.synchronize()


def folder_of_proposals(manifest: Manifest, step: str) -> Optional[str]:
    """The folder below which the proposals of `step` lie as `manifest` has it; None if it knows of none."""
    sets = manifest.step(step).get("outputs", {}).get("proposals", {})
    return next((os.path.dirname(os.path.dirname(about["path"])) for about in sets.values()), None)


def has_proposals(cfg: CfgNode, manifest: Manifest, step: str, output_dir: str, *, recompute_flipped: bool) -> bool:
    """Whether `output_dir` holds the sets over DATASETS.TRAIN and DATASETS.TEST that the manifest says `step` wrote.

    They have to be of the images that the data sets have now, and as many as `cfg`, the step's config, asks for.
    """
    outputs = manifest.step(step).get("outputs", {})
    for name, flipped in [*_sets(cfg.DATASETS.TRAIN, recompute_flipped), *_sets(cfg.DATASETS.TEST, False)]:
        about = outputs.get("flipped_proposals" if flipped else "proposals", {}).get(name)
        path = proposal_path(output_dir, name, flipped=flipped)
        try:
            if about is None or not _is_as_asked(ProposalSet(path), about["sha256"], cfg, name, flipped):
                return False
        except ProposalSetError:
            return False
    return True


def _is_as_asked(proposals: ProposalSet, sha256: str, cfg: CfgNode, name: str, flipped: bool) -> bool:
    images = [str(image["image_id"]) for image in load_dataset_dicts(name)]
    return proposals.sha256 == sha256 and proposals.image_ids == images and has_settings(proposals, cfg, flipped)
