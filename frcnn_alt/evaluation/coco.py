"""COCO's average precision by detectron2's evaluator, with AP50 by class and without what was left out of the data."""

from typing import Any, Dict, List, Optional

import numpy as np
from detectron2.evaluation import COCOEvaluator
from pycocotools.coco import COCO

__all__ = ["PerClassCOCOEvaluator"]


class PerClassCOCOEvaluator(COCOEvaluator):
    """detectron2's COCOEvaluator, whose results gain "AP50-<class>".

    Args:
        dataset_name: a registered data set.
        ground_truth: contents of a COCO json that replace those of the data set's own file; None keeps these.
        others: of COCOEvaluator.
    """

    def __init__(self, dataset_name: str, *args: Any, ground_truth: Optional[Dict[str, Any]] = None, **kwargs: Any):
        super().__init__(dataset_name, *args, **kwargs)
        if ground_truth is not None:
            self._coco_api = COCO()
            self._coco_api.dataset = ground_truth
            self._coco_api.createIndex()

    def _derive_coco_results(self, coco_eval, iou_type: str, class_names: Optional[List[str]] = None):
        results = super()._derive_coco_results(coco_eval, iou_type, class_names=class_names)
        if iou_type == "keypoints":
            return results
        for index, name in enumerate(class_names or []):
            ap = np.nan
            if coco_eval is not None:
                at_50 = int(np.flatnonzero(np.isclose(coco_eval.params.iouThrs, 0.5))[0])
                # precision: IoU threshold, recall, class, area range (0 is all), detections an image (-1 is most);
                # -1 where the class has no object
                precision = coco_eval.eval["precision"][at_50, :, index, 0, -1]
                precision = precision[precision > -1]
                ap = 100 * precision.mean() if precision.size else np.nan
            results[f"AP50-{name}"] = float(ap)
        return results
