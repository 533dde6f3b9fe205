"""What a step begins with: each component's initial weights, then what its regression targets are normalised by."""

from typing import Dict, Mapping, Tuple

import torch
from detectron2.config import CfgNode
from torch import nn

from ..checkpointing import fit_to_model, load_initial_weights, names_from, read_checkpoint
from ..data import load_training_dicts
from ..modeling.roi_heads import VGG16BoxHead, ZFBoxHead
from ..proposals import ProposalSet
from .network import FAST_RCNN, ONE_STAGE
from .statistics import learns_deltas, measure_proposal_statistics, measure_region_statistics
from .step import WEIGHTS, Step
from .step_proposals import ProposalInputs
from .window_statistics import measure_window_statistics

__all__ = ["initialize_step", "may_be_missing"]


def may_be_missing(model: nn.Module) -> Tuple[str, ...]:
    """Return the components of which MODEL.WEIGHTS need not hold anything.

    fc6 and fc7 of ZF-net and VGG-16 come from ImageNet as the convolutions do. Other networks' heads (two new layers on
    FPN, say) have no part in an ImageNet model.
    """
    head = getattr(getattr(model, "roi_heads", None), "box_head", None)
    return () if isinstance(head, (ZFBoxHead, VGG16BoxHead)) else ("roi_heads",)


def initialize_step(
    cfg: CfgNode, step: Step, model: nn.Module, files: Mapping[str, str], proposals: ProposalInputs
) -> None:
    """Load each component from its source, then measure what the regression targets are normalised with.

    Args:
        cfg: of the step.
        step: the step.
        model: of `cfg`; changed in place.
        files: source of weights -> file; `WEIGHTS` is missing where MODEL.WEIGHTS is empty, and all starts new.
        proposals: what the step trains on, if it does.

    Raises:
        CheckpointError: a file does not fit.
        ConfigError: there is nothing to measure.
    """

    def read(source: str) -> Mapping[str, torch.Tensor]:
        names = names_from(source, model.state_dict(), step.init)
        return fit_to_model(read_checkpoint(files[source]), model, names)["model"]

    init = {component: source for component, source in step.init.items() if source != WEIGHTS or source in files}
    load_initial_weights(model, init, read, may_be_missing(model))
    dicts = load_training_dicts(cfg)
    if learns_deltas(model, "proposal_generator"):
        measure_proposal_statistics(cfg, model, dicts)
    if step.kind == FAST_RCNN and learns_deltas(model, "roi_heads"):
        names, about = cfg.DATASETS.TRAIN, cfg.DATASETS
        measure_region_statistics(
            model,
            dicts,
            _sets(names, proposals.files),
            about.PRECOMPUTED_PROPOSAL_TOPK_TRAIN,
            _sets(names, proposals.flipped_files) or None,
            about.PROPOSAL_CROWD_THRESH,
        )
    elif step.kind == ONE_STAGE and learns_deltas(model, "roi_heads"):
        measure_window_statistics(cfg, model, dicts)


def _sets(names: Tuple[str, ...], files: Tuple[str, ...]) -> Dict[str, ProposalSet]:
    return dict(zip(names, map(ProposalSet, files)))
