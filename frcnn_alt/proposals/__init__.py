"""Proposal sets on disk: computed or imported, written image by image, read lazily while a detector trains on them."""

from .compute import compute_proposals, has_settings, proposal_settings
from .crowds import leave_out_crowds
from .foreign import PROPOSAL_FORMATS, import_proposals
from .mapper import ProposalDatasetMapper
from .proposal_set import ProposalSet, ProposalSetError
from .proposal_set_writer import ProposalSetWriter, merge_proposal_sets

__all__ = [
    "PROPOSAL_FORMATS",
    "ProposalDatasetMapper",
    "ProposalSet",
    "ProposalSetError",
    "ProposalSetWriter",
    "compute_proposals",
    "has_settings",
    "import_proposals",
    "leave_out_crowds",
    "merge_proposal_sets",
    "proposal_settings",
]
