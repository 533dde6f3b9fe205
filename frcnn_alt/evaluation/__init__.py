"""Measuring: average precision by class, recall of proposals, and the detections themselves in a file."""

from .adaptive_threshold import AdaptiveThresholdEvaluator, class_thresholds
from .build import build_evaluator
from .coco import PerClassCOCOEvaluator
from .detections import DetectionsWriter
from .proposals import ProposalRecallEvaluator
from .recall import RecallCurves, matched_overlaps, proposal_recall, recall_curves
from .voc import VOCDetectionEvaluator, voc_average_precision

__all__ = [
    "AdaptiveThresholdEvaluator",
    "DetectionsWriter",
    "PerClassCOCOEvaluator",
    "ProposalRecallEvaluator",
    "RecallCurves",
    "VOCDetectionEvaluator",
    "build_evaluator",
    "class_thresholds",
    "matched_overlaps",
    "proposal_recall",
    "recall_curves",
    "voc_average_precision",
]
