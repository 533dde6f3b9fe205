"""Proposal sets on disk: written while they are computed, read lazily while a detector trains on them."""

from .compute import compute_proposals
from .mapper import ProposalDatasetMapper
from .proposal_set import ProposalSet, ProposalSetError
from .proposal_set_writer import ProposalSetWriter, merge_proposal_sets

__all__ = [
    "ProposalDatasetMapper",
    "ProposalSet",
    "ProposalSetError",
    "ProposalSetWriter",
    "compute_proposals",
    "merge_proposal_sets",
]
