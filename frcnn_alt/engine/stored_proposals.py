"""The proposal sets that a config names: opened and compared with the data sets before anything is built on them."""

import os
from typing import Dict, List, Tuple

from detectron2.config import CfgNode

from ..data import load_dataset_dicts
from ..proposals import ProposalSet, ProposalSetError
from .defaults import ConfigError

__all__ = ["check_proposal_sets", "keys_to_set", "open_proposal_sets"]


def check_proposal_sets(cfg: CfgNode, split: str) -> List[str]:
    """Return what is wrong with the stored proposals of `cfg`, one sentence each; empty when every image has them.

    Args:
        cfg: reads DATASETS.<split> and DATASETS.PROPOSAL_FILES_<split> where MODEL.LOAD_PROPOSALS.
        split: "TRAIN" or "TEST".

    Raises:
        DatasetError: a data set cannot be loaded.
    """
    if not cfg.MODEL.LOAD_PROPOSALS:
        return []
    sets, problems = _open(cfg, split)
    for name, proposals in sets.items():
        try:
            proposals.check_values()
        except ProposalSetError as error:
            problems.append(f"DATASETS.PROPOSAL_FILES_{split}, for {name}: {error}")
    return problems


def open_proposal_sets(cfg: CfgNode, split: str) -> Dict[str, ProposalSet]:
    """Open DATASETS.PROPOSAL_FILES_<split>: data set name -> its set.

    Raises:
        ConfigError: sets are missing, damaged or lack images; all of them are named.
    """
    sets, problems = _open(cfg, split)
    if problems:
        raise ConfigError("\n".join(problems))
    return sets


def _open(cfg: CfgNode, split: str) -> Tuple[Dict[str, ProposalSet], List[str]]:
    key = f"DATASETS.PROPOSAL_FILES_{split}"
    names, files = cfg.DATASETS[split], cfg.DATASETS[f"PROPOSAL_FILES_{split}"]
    if len(names) != len(files):
        return {}, [
            f"MODEL.LOAD_PROPOSALS is True, but {key} names {len(files)} proposal sets for {len(names)} data sets, "
            f"DATASETS.{split} {tuple(names)}: name one folder for each, in the same order."
        ]
    sets, problems = {}, []
    for name, file in zip(names, files):
        try:
            sets[name] = ProposalSet(file)
            made_for = sets[name].dataset_name
            if made_for != name and made_for in names:  # image ids of two data sets may be equal
                problems.append(f"{key}: {file} is of {made_for}, but stands in the place of {name}: swap the folders.")
                continue
            sets[name].check_covers(load_dataset_dicts(name))
        except ProposalSetError as error:
            problems.append(f"{key}, for {name}: {error}")
    return sets, problems


def keys_to_set(cfg: CfgNode, folder: str) -> List[str]:
    """KEY VALUE pairs, quoted for a shell, that have a detector train and test on the sets in `folder`.

    Of DATASETS.TRAIN and of DATASETS.TEST only where the sets of all its data sets are there.
    """
    words = []
    for side in ("TRAIN", "TEST"):
        paths = [os.path.join(folder, name) for name in cfg.DATASETS[side]]
        if paths and all(os.path.isfile(os.path.join(path, "index.json")) for path in paths):
            words.append(f'DATASETS.PROPOSAL_FILES_{side} "{tuple(paths)}"')
    return words
