"""The MATLAB release's cut-off: score thresholds of the classes, found over the whole data set (SPEC 5.4).

For each class the best boxes of all images before NMS are kept, on average `mean_boxes_per_class` an image; NMS comes
after that. Since a box is only ever suppressed by one with a higher score, it makes no difference to run NMS first and
to drop what is below the threshold then, provided that the threshold is found from the boxes before NMS. So the model
detects as ever, and hands out these scores beside its detections.

Shape letters: N images, K classes, T candidates of the class that has most.
"""

import logging
from typing import Any, Dict, List, Optional

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from .detections import detected_instances

__all__ = ["AdaptiveThresholdEvaluator", "class_thresholds"]


def class_thresholds(scores: torch.Tensor, limit: int) -> torch.Tensor:
    """Return the score of each class that its `limit` best candidates reach.

    Args:
        scores: (T, K); -inf where a class has fewer candidates than T.
        limit: how many candidates of a class may stay, at least 1. Others of the same score stay with the last one.

    Returns:
        (K,), to be compared by >=; -inf for a class with fewer candidates: all of them stay.
    """
    if len(scores) < limit:
        return scores.new_full((scores.shape[1],), -float("inf"))
    return scores.topk(limit, dim=0).values[-1]


class AdaptiveThresholdEvaluator(DatasetEvaluator):
    """Shows another evaluator the detections that reach the thresholds of their classes; adds no result of its own.

    It can only begin when the last image has been seen. Till then each process keeps, on the CPU, its images'
    detections (masks, where there are any, in full size), their entries of the data set without pixels and proposals,
    and at most T x K scores of each: with 100 candidates a class 8 kB an image for VOC's 20 classes and 32 kB for
    COCO's 80. At most `mean_boxes_per_class` x N scores of a class travel from each process to the main one.

    MATLAB also thins out its boxes after every 1000 images, to save memory; where fewer are there than may stay, this
    loses boxes below the lowest so far, which is not done here.

    A model that gives no "candidate_scores" (detectron2's own meta architectures and box predictors, test-time
    augmentation) is measured without the cut-off, and the log says so.

    Args:
        evaluator: gets the detections that are left, on every process.
        mean_boxes_per_class: TEST.MEAN_BOXES_PER_CLASS, boxes of a class before NMS per image of the data set.
        class_names: for the log.

    Raises:
        ValueError: `mean_boxes_per_class` is not above 0.
    """

    def __init__(self, evaluator: DatasetEvaluator, mean_boxes_per_class: int, class_names: List[str]):
        if mean_boxes_per_class <= 0:
            raise ValueError(
                f"TEST.MEAN_BOXES_PER_CLASS is {mean_boxes_per_class}: it must be above 0, or -1 for no such cut-off."
            )
        self.mean_boxes_per_class = mean_boxes_per_class
        self.class_names = class_names
        self._evaluator = evaluator
        self.reset()

    def reset(self) -> None:
        self._inputs: List[Dict[str, Any]] = []
        self._instances: List[Instances] = []
        self._scores: List[torch.Tensor] = []

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """Keep the detections of a batch.

        Raises:
            ValueError: the output has no detections.
        """
        for one, output in zip(inputs, outputs):
            self._inputs.append({k: v for k, v in one.items() if not isinstance(v, (torch.Tensor, Instances))})
            self._instances.append(detected_instances(output))
            if "candidate_scores" in output:
                self._scores.append(output["candidate_scores"].float().cpu())

    def evaluate(self) -> Optional[Dict[str, Any]]:
        """Return the results of the evaluator inside."""
        thresholds = self._find_thresholds()
        self._evaluator.reset()
        for one, instances in zip(self._inputs, self._instances):
            if thresholds is not None:
                instances = instances[instances.scores.float() >= thresholds[instances.pred_classes]]
            self._evaluator.process([one], [{"instances": instances}])
        return self._evaluator.evaluate()

    def _find_thresholds(self) -> Optional[torch.Tensor]:
        """(K,), the same on every process; None if an image came without scores."""
        counts = comm.all_gather((len(self._inputs), len(self._scores)))
        images, with_scores = (sum(numbers) for numbers in zip(*counts))
        logger = logging.getLogger(__name__)
        if with_scores < images:
            logger.warning(
                f"TEST.MEAN_BOXES_PER_CLASS is {self.mean_boxes_per_class}, but {images - with_scores} of {images} "
                "images came without the candidate scores that FasterRCNN with FasterRCNNROIHeads gives, and "
                "test-time augmentation does not: measured without this cut-off."
            )
            return None
        limit = self.mean_boxes_per_class * max(images, 1)
        scores = torch.cat([torch.zeros(0, len(self.class_names)), *self._scores])
        # What is not among the best of its own process is not among the best of all.
        gathered = comm.gather(scores.topk(min(limit, len(scores)), dim=0).values, dst=0)
        thresholds = class_thresholds(torch.cat(gathered), limit) if comm.is_main_process() else None
        thresholds = comm.all_gather(thresholds)[0]
        if comm.is_main_process():
            shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.class_names, thresholds.tolist()))
            logger.info(
                f"Score thresholds that leave {limit} boxes of a class before NMS, -inf where all stay: {shown}"
            )
        return thresholds
