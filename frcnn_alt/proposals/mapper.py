"""Hands each training image its stored proposals, read from disk at the moment the image is loaded.

detectron2 attaches the proposals of all images to the data set dicts before training, which holds a whole proposal
file in memory, once for each data loader worker. This mapper attaches those of one image and leaves everything else,
the transforms of the boxes with the image included, to the stock mapper.
"""

from typing import Any, Dict, Mapping, Optional

from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode

from .proposal_set import ProposalSet, ProposalSetError

__all__ = ["ProposalDatasetMapper"]


class ProposalDatasetMapper(DatasetMapper):
    """The stock mapper, with "proposals" from proposal sets in its result.

    A dict's "dataset_name" says which set its "image_id" belongs to, for ids of two data sets may be equal; with a
    single set, dicts need not have it. The proposals become :class:`Instances` of the transformed image with fields
    ``proposal_boxes`` (R x 4, XYXY, clipped, not empty) and ``objectness_logits`` (R), the best `topk` of them.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        proposal_sets: Mapping[str, ProposalSet],
        precomputed_proposal_topk: int,
        **stock_arguments: Any,
    ):
        """
        Args:
            is_train: whether it is used in training or inference.
            proposal_sets: registered data set name -> its proposals.
            precomputed_proposal_topk: at most this many proposals of an image, after empty ones are left out.
            stock_arguments: the other arguments of detectron2's DatasetMapper.
        """
        super().__init__(is_train, precomputed_proposal_topk=precomputed_proposal_topk, **stock_arguments)
        self.proposal_sets = dict(proposal_sets)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> Dict[str, Any]:
        """DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN or _TEST are used whether or not MODEL.LOAD_PROPOSALS is set."""
        arguments = super().from_config(cfg, is_train)
        topk = cfg.DATASETS
        arguments["precomputed_proposal_topk"] = (
            topk.PRECOMPUTED_PROPOSAL_TOPK_TRAIN if is_train else topk.PRECOMPUTED_PROPOSAL_TOPK_TEST
        )
        return arguments

    def __call__(self, dataset_dict: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """Map one detectron2 dict; the dict itself is not changed.

        Raises:
            ProposalSetError: there is no proposal set for the dict's data set, or it lacks the image.
        """
        boxes, scores = self._proposal_set_of(dataset_dict)[dataset_dict["image_id"]]
        return super().__call__(
            {
                **dataset_dict,
                "proposal_boxes": boxes,
                "proposal_objectness_logits": scores,
                "proposal_bbox_mode": BoxMode.XYXY_ABS,
            }
        )

    def _proposal_set_of(self, dataset_dict: Dict[str, Any]) -> ProposalSet:
        name = dataset_dict.get("dataset_name")
        if name is None and len(self.proposal_sets) == 1:
            return next(iter(self.proposal_sets.values()))
        if name not in self.proposal_sets:
            raise ProposalSetError(
                f'image {dataset_dict["image_id"]} has "dataset_name" {name}, but there are proposals of '
                f"{', '.join(sorted(self.proposal_sets)) or 'no data set'} only"
            )
        return self.proposal_sets[name]
