"""Proposal sets of several methods, each with the data set of a config that it is of, to be measured side by side."""

import os
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from detectron2.config import CfgNode

from ..data import load_dataset_dicts
from ..proposals import ProposalSet, ProposalSetError
from .defaults import ConfigError

__all__ = ["ComparedSet", "open_compared_sets"]


class ComparedSet(NamedTuple):
    """A proposal set that covers its data set.

    Attributes:
        method: what made it.
        proposals: the set.
        dataset_dicts: of the data set, with annotations.
    """

    method: str
    proposals: ProposalSet
    dataset_dicts: List[Dict[str, Any]]


def open_compared_sets(cfg: CfgNode, split: str, named: Sequence[Tuple[str, str]]) -> List[ComparedSet]:
    """Open proposal sets and find the data set of each: the one of DATASETS.<split> that it says it is of.

    Args:
        cfg: its data sets registered.
        split: "TRAIN" or "TEST".
        named: (method, folder); several folders of one method are its runs.

    Raises:
        ConfigError: a set is not there or damaged, is of another data set, lacks images or is named twice; all that is
            wrong is said.
        DatasetError: a data set cannot be loaded.
    """
    dicts: Dict[str, List[Dict[str, Any]]] = {}
    methods: Dict[str, str] = {}  # of the folders that were named
    opened, problems = [], []
    for method, folder in named:
        place = os.path.realpath(folder)
        if place in methods:
            problems.append(f"{method}: {folder} is named already, as {methods[place]}.")
            continue
        methods[place] = method
        try:
            proposals = ProposalSet(folder)
            name = proposals.dataset_name
            if name not in cfg.DATASETS[split]:
                problems.append(f"{method}: {folder} is of {name!r}, {_not_measured(cfg, split, name)}")
                continue
            if name not in dicts:
                dicts[name] = load_dataset_dicts(name)
            proposals.check_covers(dicts[name])
            proposals.check_values()
        except ProposalSetError as error:
            problems.append(f"{method}: {error}")
        else:
            opened.append(ComparedSet(method, proposals, dicts[name]))
    if problems:
        raise ConfigError("\n".join(problems))
    return opened


def _not_measured(cfg: CfgNode, split: str, name: str) -> str:
    """Why a set of the data set `name` is not measured, and what would be."""
    other = "TRAIN" if split == "TEST" else "TEST"
    if name in cfg.DATASETS[other]:
        return f"which is in DATASETS.{other} of the config: --split {other.lower()} measures it."
    names = ", ".join(map(repr, cfg.DATASETS[split])) or "empty"
    return f"but DATASETS.{split} of the config is {names}: name the set of that, or another config."
