"""Proposal sets on disk: computed or imported, written image by image, read lazily while a detector trains on them."""

from .compute import compute_proposals, has_settings, proposal_settings
from .crowds import leave_out_crowds
from .edge_boxes import EdgeBoxes
from .foreign import PROPOSAL_FORMATS, import_proposals
from .from_pixels import compute_from_pixels, number_of_cores
from .mapper import ProposalDatasetMapper
from .proposal_set import ProposalSet, ProposalSetError
from .proposal_set_writer import ProposalSetWriter, merge_proposal_sets
from .resumable import ResumableSet
from .selective_search import SelectiveSearch

__all__ = [
    "EdgeBoxes",
    "PROPOSAL_FORMATS",
    "ProposalDatasetMapper",
    "ProposalSet",
    "ProposalSetError",
    "ProposalSetWriter",
    "ResumableSet",
    "SelectiveSearch",
    "compute_from_pixels",
    "compute_proposals",
    "has_settings",
    "import_proposals",
    "leave_out_crowds",
    "merge_proposal_sets",
    "number_of_cores",
    "proposal_settings",
]
