"""Hands each training image its stored proposals, read from disk at the moment the image is loaded.

detectron2 attaches the proposals of all images to the data set dicts before training, which holds a whole proposal
file in memory, once for each data loader worker. This mapper reads those of one image, from the set of flipped images
if the stock mapper has just flipped it; the transforms of pixels, objects and proposals are detectron2's.
"""

from typing import Any, Dict, Mapping, Optional

from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import transform_proposals
from detectron2.structures import BoxMode

from .crowds import leave_out_crowds
from .proposal_set import ProposalSet, ProposalSetError

__all__ = ["ProposalDatasetMapper"]


class _RememberingAugmentations(T.AugmentationList):
    """An ``AugmentationList`` that keeps what it applied last, for the stock mapper does not tell."""

    def __call__(self, aug_input: T.AugInput) -> T.TransformList:
        self.applied = super().__call__(aug_input)
        return self.applied


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
        flipped_proposal_sets: Optional[Mapping[str, ProposalSet]] = None,
        precomputed_proposal_topk: int,
        proposal_crowd_thresh: float = -1.0,
        **stock_arguments: Any,
    ):
        """
        Args:
            is_train: whether it is used in training or inference.
            proposal_sets: registered data set name -> its proposals.
            flipped_proposal_sets: the same for images that the augmentation flips horizontally, in coordinates of the
                image that is not flipped (``compute_proposals`` with `flipped`). By default a flipped image has the
                proposals of the image, mirrored.
            precomputed_proposal_topk: at most this many proposals of an image, after empty ones are left out.
            proposal_crowd_thresh: leave out proposals of whose area more than this share lies inside one crowd box of
                the dict (see ``leave_out_crowds``); negative keeps them.
            stock_arguments: the other arguments of detectron2's DatasetMapper.
        """
        super().__init__(is_train, **stock_arguments)
        self.augmentations = _RememberingAugmentations([self.augmentations])
        self.precomputed_proposal_topk = precomputed_proposal_topk
        self.proposal_crowd_thresh = proposal_crowd_thresh
        self.proposal_sets = dict(proposal_sets)
        self.flipped_proposal_sets = None if flipped_proposal_sets is None else dict(flipped_proposal_sets)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> Dict[str, Any]:
        """DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN or _TEST are used whether or not MODEL.LOAD_PROPOSALS is set.

        DATASETS.PROPOSAL_CROWD_THRESH is used in training alone.
        """
        arguments = super().from_config(cfg, is_train)
        topk = cfg.DATASETS
        arguments["precomputed_proposal_topk"] = (
            topk.PRECOMPUTED_PROPOSAL_TOPK_TRAIN if is_train else topk.PRECOMPUTED_PROPOSAL_TOPK_TEST
        )
        arguments["proposal_crowd_thresh"] = cfg.DATASETS.PROPOSAL_CROWD_THRESH if is_train else -1.0
        return arguments

    def __call__(self, dataset_dict: Dict[str, Any]) -> Dict[str, Any]:
        """Map one detectron2 dict; the dict itself is not changed.

        Raises:
            ProposalSetError: there is no proposal set for the dict's data set, or it lacks the image.
        """
        mapped = super().__call__(dataset_dict)
        # Known only now: the flip is drawn in the stock mapper, and drawing it before would change every batch.
        transforms = self.augmentations.applied
        flipped = sum(isinstance(transform, T.HFlipTransform) for transform in transforms.transforms) % 2 == 1
        use_flipped = flipped and self.flipped_proposal_sets is not None
        sets = self.flipped_proposal_sets if use_flipped else self.proposal_sets
        boxes, scores = _proposal_set_of(dataset_dict, sets)[dataset_dict["image_id"]]
        if self.proposal_crowd_thresh >= 0:
            boxes, scores = leave_out_crowds(
                boxes, scores, dataset_dict, self.proposal_crowd_thresh, self.precomputed_proposal_topk
            )
        mapped["proposal_boxes"], mapped["proposal_objectness_logits"] = boxes, scores
        mapped["proposal_bbox_mode"] = BoxMode.XYXY_ABS
        size = tuple(mapped["image"].shape[1:])
        transform_proposals(mapped, size, transforms, proposal_topk=self.precomputed_proposal_topk)
        return mapped


def _proposal_set_of(dataset_dict: Dict[str, Any], sets: Mapping[str, ProposalSet]) -> ProposalSet:
    name = dataset_dict.get("dataset_name")
    if name is None and len(sets) == 1:
        return next(iter(sets.values()))
    if name not in sets:
        raise ProposalSetError(
            f'image {dataset_dict["image_id"]} has "dataset_name" {name}, but there are proposals of '
            f"{', '.join(sorted(sets)) or 'no data set'} only"
        )
    return sets[name]
