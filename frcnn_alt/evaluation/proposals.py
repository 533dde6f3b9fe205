"""What a region proposal network alone is measured by: the recall of its proposals, on any data set with boxes."""

import shutil
from typing import Any, Container, Dict, List, Optional

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..data.unreadable import skipped_images
from ..proposals.proposal_set import ProposalSet
from ..proposals.proposal_set_writer import ProposalSetWriter, merge_proposal_sets
from .recall import proposal_recall

__all__ = ["ProposalRecallEvaluator"]


class ProposalRecallEvaluator(DatasetEvaluator):
    """Writes a model's "proposals" to a proposal set while they come, then measures their recall.

    detectron2 has this for COCO json files only; on VOC its evaluator ends with ``KeyError: 'instances'``.

    Args:
        dataset_name: for messages and the set.
        dataset_dicts: with annotations; all of them have to be shown to the model.
        path: folder of the proposal set, replaced if there is one.
    """

    def __init__(self, dataset_name: str, dataset_dicts: List[Dict[str, Any]], path: str):
        self.dataset_name = dataset_name
        self.dataset_dicts = dataset_dicts
        self.path = path
        self._parts = [f"{path}.process{rank}" for rank in range(comm.get_world_size())]

    def reset(self) -> None:
        self._writer = ProposalSetWriter(self._parts[comm.get_rank()], self.dataset_name)
        self._writer.__enter__()

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        for record, output in zip(inputs, outputs):
            proposals = output["proposals"]
            self._writer.add(record["image_id"], proposals.proposal_boxes.tensor, proposals.objectness_logits)

    def evaluate(self) -> Optional[Dict[str, Dict[str, float]]]:
        """Return {"box_proposals": what ``proposal_recall`` gives, in percent}; None on other processes.

        Raises:
            ProposalSetError: an image of the data set was neither shown to the model nor skipped as unreadable.
        """
        self._writer.__exit__(None, None, None)
        skipped = skipped_images(of_all_processes=True)  # which waits for all parts, too
        if not comm.is_main_process():
            return None
        parts = [*self._parts, self._write_skipped(skipped)]
        merge_proposal_sets(parts, self.path, [record["image_id"] for record in self.dataset_dicts])
        for part in parts:
            shutil.rmtree(part)
        return {"box_proposals": proposal_recall(ProposalSet(self.path), self.dataset_dicts)}

    def _write_skipped(self, skipped: Container[str]) -> str:
        """Write a part with an empty entry for each image that was not shown because its file could not be read."""
        shown = {image_id for part in self._parts for image_id in ProposalSet(part)}
        path = f"{self.path}.skipped"
        with ProposalSetWriter(path, self.dataset_name) as writer:
            for record in self.dataset_dicts:
                if str(record["image_id"]) not in shown and record["file_name"] in skipped:
                    writer.add(record["image_id"], (), ())
        return path
