"""Measuring: average precision by class, recall of proposals, the detections themselves in a file, time by part."""

from .adaptive_threshold import AdaptiveThresholdEvaluator, class_thresholds
from .build import build_evaluator
from .coco import PerClassCOCOEvaluator
from .detections import DetectionsWriter
from .part_times import PartTimes, TimedSystem, measure_parts
from .proposals import ProposalRecallEvaluator
from .recall import RecallCurves, matched_overlaps, proposal_recall, recall_curves
from .timing import PARTS, SplitTime, is_split, time_parts, time_whole
from .voc import VOCDetectionEvaluator, voc_average_precision

__all__ = [
    "PARTS",
    "AdaptiveThresholdEvaluator",
    "DetectionsWriter",
    "PartTimes",
    "PerClassCOCOEvaluator",
    "ProposalRecallEvaluator",
    "RecallCurves",
    "SplitTime",
    "TimedSystem",
    "VOCDetectionEvaluator",
    "build_evaluator",
    "class_thresholds",
    "is_split",
    "matched_overlaps",
    "measure_parts",
    "proposal_recall",
    "recall_curves",
    "time_parts",
    "time_whole",
    "voc_average_precision",
]
