"""COCO's average precision by detectron2's evaluator, with AP50 by class and without what was left out of the data."""

import json
import os
import tempfile
from typing import Any, Dict, List, Optional

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator

__all__ = ["PerClassCOCOEvaluator"]


class PerClassCOCOEvaluator(COCOEvaluator):
    """detectron2's COCOEvaluator, whose results gain "AP50-<class>".

    Args:
        dataset_name: a registered data set.
        ground_truth: contents of a COCO json that replace those of the data set's own file; None keeps these.
        others: of COCOEvaluator.
    """

    def __init__(self, dataset_name: str, *args: Any, ground_truth: Optional[Dict[str, Any]] = None, **kwargs: Any):
        if ground_truth is None:
            super().__init__(dataset_name, *args, **kwargs)
            return
        # detectron2's constructor reads the file that the data set's metadata names, and stops where that is malformed:
        # it gets the same metadata with another file, under a name that nobody else sees.
        metadata = MetadataCatalog.get(dataset_name).as_dict()
        stand_in = f"{dataset_name} as it is evaluated"
        with tempfile.TemporaryDirectory() as folder:
            metadata["json_file"] = os.path.join(folder, "ground_truth.json")
            with open(metadata["json_file"], "w", encoding="utf-8") as file:
                json.dump(ground_truth, file)
            MetadataCatalog.get(stand_in).set(**{key: value for key, value in metadata.items() if key != "name"})
            try:
                super().__init__(stand_in, *args, **kwargs)
            finally:
                MetadataCatalog.pop(stand_in)

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
