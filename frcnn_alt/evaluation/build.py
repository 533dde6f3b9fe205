"""Which evaluator a data set and a model get: recall for proposal networks; else the metric of the data set's metadata
and the file of detections.
"""

import os

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import META_ARCH_REGISTRY, ProposalNetwork

from ..data.load import evaluation_ground_truth, load_dataset_dicts
from ..data.problems import DatasetError
from .adaptive_threshold import AdaptiveThresholdEvaluator
from .coco import PerClassCOCOEvaluator
from .detections import DetectionsWriter
from .proposals import ProposalRecallEvaluator
from .voc import VOCDetectionEvaluator

__all__ = ["build_evaluator"]


def build_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """Build the evaluator of a registered data set.

    Its ``evaluate()`` returns ``{"bbox": {"AP", "AP50", "AP75", "AP50-<class>" ...}}`` in percent and writes
    ``<output_dir>/inference/<dataset_name>/detections.jsonl``. PASCAL VOC and VOC-layout data sets get VOC's metric
    (11-point for 2007 and one's own folders), others COCO's. For a proposal network it returns
    ``{"box_proposals": {"recall50@300", "AR@300" ...}}`` and writes the proposal set ``.../<dataset_name>/proposals``.
    Detections below the cut-off of TEST.MEAN_BOXES_PER_CLASS are neither measured nor written.

    Args:
        cfg: reads MODEL.META_ARCHITECTURE, MODEL.ROI_HEADS.NUM_CLASSES and TEST.MEAN_BOXES_PER_CLASS.
        dataset_name: registered, with ``thing_classes``.
        output_dir: of the run.

    Raises:
        DatasetError: the data set cannot be loaded, has no box metric here, or other classes than the model.
        ValueError: TEST.MEAN_BOXES_PER_CLASS is 0.
    """
    dicts = load_dataset_dicts(dataset_name)
    folder = os.path.join(output_dir, "inference", dataset_name)
    if issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), ProposalNetwork):
        return ProposalRecallEvaluator(dataset_name, dicts, os.path.join(folder, "proposals"))
    metadata = MetadataCatalog.get(dataset_name)
    class_names = metadata.get("thing_classes")
    if not class_names:
        raise DatasetError(
            f"Data set {dataset_name!r} has no class names: set MetadataCatalog.get({dataset_name!r}).thing_classes."
        )
    if len(class_names) != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        raise DatasetError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {cfg.MODEL.ROI_HEADS.NUM_CLASSES}, but data set {dataset_name!r} has "
            f"{len(class_names)} classes: the model's classes are not those of the data set."
        )
    kind = metadata.get("evaluator_type", "coco")
    if kind == "pascal_voc":
        metric: DatasetEvaluator = VOCDetectionEvaluator(
            dataset_name, class_names, dicts, eleven_point=metadata.get("year", 2007) == 2007
        )
    elif kind == "coco":
        ground_truth = evaluation_ground_truth(dataset_name)
        metric = PerClassCOCOEvaluator(dataset_name, output_dir=folder, ground_truth=ground_truth)
    else:
        raise DatasetError(
            f"Data set {dataset_name!r} is evaluated by {kind!r}, which measures no boxes here; use detectron2's own "
            "evaluator for it."
        )
    writer = DetectionsWriter(dataset_name, class_names, dicts, os.path.join(folder, "detections.jsonl"))
    evaluators = DatasetEvaluators([metric, writer])
    if cfg.TEST.MEAN_BOXES_PER_CLASS < 0:
        return evaluators
    return AdaptiveThresholdEvaluator(evaluators, cfg.TEST.MEAN_BOXES_PER_CLASS, class_names)
