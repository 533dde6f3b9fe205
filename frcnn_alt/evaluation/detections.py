"""The detections of an evaluation as a file that people and the report can read: one JSON line an image."""

import itertools
import json
import os
from typing import Any, Dict, List

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm

from ..safe_write import make_folder, replacing

__all__ = ["DetectionsWriter", "detected_instances", "ground_truth_arrays"]


def detected_instances(output: Dict[str, Any]) -> Instances:
    """Return the detections of one image, on the CPU.

    Raises:
        ValueError: the model made none, e.g. because it is a region proposal network alone.
    """
    if "instances" not in output:
        raise ValueError(
            f"The model's output has {', '.join(sorted(output)) or 'nothing'} but no 'instances', so there are no "
            "detections to measure. A proposal network (MODEL.META_ARCHITECTURE FasterRCNNProposalNetwork or "
            "ProposalNetwork) is measured by frcnn_alt.evaluation.proposal_recall."
        )
    return output["instances"].to("cpu")


def ground_truth_arrays(record: Dict[str, Any]) -> Dict[str, np.ndarray]:
    """Return what a data set dictionary holds as arrays, for G objects.

    Returns:
        boxes: G x 4 float64, XYXY in continuous pixels of the original image; labels: G int; difficult: G bool, true
        also for COCO's crowds.
    """
    objects = record.get("annotations", [])
    boxes = [BoxMode.convert(list(o["bbox"]), o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    return {
        "boxes": np.array(boxes, dtype=np.float64).reshape(-1, 4),
        "labels": np.array([o["category_id"] for o in objects], dtype=np.int64),
        "difficult": np.array([bool(o.get("difficult", o.get("iscrowd", 0))) for o in objects], dtype=bool),
    }


class DetectionsWriter(DatasetEvaluator):
    """Writes ``detections.jsonl``; measures nothing. Every process takes part, the main one writes.

    The first line is ``{"dataset", "classes"}``; each further one an image: ``image_id, file_name, width, height``,
    then the best detections ``boxes, scores, labels`` by descending score, then ``gt_boxes, gt_labels, gt_difficult``.
    Boxes are XYXY in continuous pixels of the original image. Images without detections are in it, with empty lists.

    Args:
        dataset_name: for the first line.
        class_names: in order of the labels.
        dataset_dicts: with annotations; in the order of the lines.
        path: of the file, replaced in one go.
        best: how many detections of an image are kept.
    """

    def __init__(
        self,
        dataset_name: str,
        class_names: List[str],
        dataset_dicts: List[Dict[str, Any]],
        path: str,
        *,
        best: int = 100,
    ):
        self.dataset_name = dataset_name
        self.class_names = class_names
        self.dataset_dicts = dataset_dicts
        self.path = path
        self.best = best
        self.reset()

    def reset(self) -> None:
        self._detections: Dict[Any, Dict[str, list]] = {}

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        for record, output in zip(inputs, outputs):
            instances = detected_instances(output)
            order = instances.scores.argsort(descending=True, stable=True)[: self.best]
            instances = instances[order]
            # Hundredths of a pixel and six decimals are more than any picture shows, and a quarter of the bytes.
            self._detections[record["image_id"]] = {
                "boxes": instances.pred_boxes.tensor.double().numpy().round(2).tolist(),
                "scores": instances.scores.double().numpy().round(6).tolist(),
                "labels": instances.pred_classes.tolist(),
            }

    def evaluate(self) -> None:
        gathered = comm.gather(self._detections, dst=0)
        if not comm.is_main_process():
            return
        detections = dict(itertools.chain.from_iterable(part.items() for part in gathered))
        make_folder(os.path.dirname(os.path.abspath(self.path)))
        with replacing(self.path, "w") as f:
            f.write(json.dumps({"dataset": self.dataset_name, "classes": list(self.class_names)}) + "\n")
            for record in self.dataset_dicts:
                if record["image_id"] in detections:
                    f.write(json.dumps(self._line(record, detections[record["image_id"]])) + "\n")

    def _line(self, record: Dict[str, Any], detections: Dict[str, list]) -> Dict[str, Any]:
        truth = ground_truth_arrays(record)
        return {
            **{key: record[key] for key in ("image_id", "file_name", "width", "height")},
            **detections,
            "gt_boxes": truth["boxes"].tolist(),
            "gt_labels": truth["labels"].tolist(),
            "gt_difficult": truth["difficult"].astype(int).tolist(),
        }
