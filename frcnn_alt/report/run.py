"""Reading a run folder: the manifest, the results and the curves that training wrote, as plain data.

A run may be unfinished: what is not there yet is empty. Nothing here needs a model or a GPU, and nothing is unpickled.
"""

import json
import os
import reprlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import yaml

from ..safe_yaml import load_yaml
from .json_values import as_number, as_numbers, as_texts, visible_data
from .scalars import Curve, read_scalars
from .text import visible

__all__ = ["ReportError", "Run", "StepRecord", "read_run"]

_NOT_TRAINED = ("given", "left out")  # states of steps of which the run has no training

_MANIFEST, _RESULTS, _METRICS = "manifest.json", "results.json", "metrics.json"


class ReportError(ValueError):
    """A folder that is not a run's, or a file in it that is damaged; the message names it."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a run.

    Attributes:
        number: 1 for the first.
        name: also its folder's name, such as "step1_rpn".
        kind: "rpn", "fast_rcnn", "one_stage" or "joint".
        state: "pending", "running" or "finished"; "given" or "left out": not trained in this run.
        started_from: component -> where its initial weights come from.
        trained, frozen: components.
        parameters: numbers of parameters under "trained" and "frozen"; empty if not known yet.
        ims_per_batch, max_iter, base_lr, gamma: solver values; `gamma` multiplies the rate at each of `lr_steps`.
        lr_steps: iterations at which the learning rate drops.
        proposals_in: the step whose proposals it trained on, "files", or the generator of dense windows.
        seconds: its duration, once finished.
        peak_memory_mib: the most memory that its training took, in MiB.
        recall: data set -> {"recall50@300": percent, ...} of its proposals (rpn steps); NaN where no object is.
        scalars: name -> curve.
    """

    number: int
    name: str
    kind: str
    state: str
    started_from: Dict[str, str]
    trained: List[str]
    frozen: List[str]
    parameters: Dict[str, int]
    ims_per_batch: int
    max_iter: int
    base_lr: float
    gamma: float
    lr_steps: List[int]
    proposals_in: Optional[str] = None
    seconds: Optional[float] = None
    peak_memory_mib: Optional[int] = None
    recall: Dict[str, Dict[str, float]] = field(default_factory=dict)
    scalars: Dict[str, Curve] = field(default_factory=dict)

    @property
    def is_of_the_run(self) -> bool:
        """Whether it is trained in this run: neither given nor left out."""
        return self.state not in _NOT_TRAINED

    @property
    def title(self) -> str:
        """What people call it: "Step 1: region proposal network"."""
        networks = {"rpn": "region proposal network", "fast_rcnn": "Fast R-CNN", "joint": "joint training"}
        networks["one_stage"] = "Fast R-CNN on dense windows"
        network = networks.get(self.kind, self.kind)
        return f"Step {self.number}: {network}"


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        path: the folder.
        name: of the run.
        manifest: the whole content of manifest.json.
        steps: in the order they run.
        test_datasets: the names in DATASETS.TEST.
        box_results: data set -> {"AP", "AP50", "AP75", "AP50-<class>" ...} in percent, NaN where no object is; empty
            before the evaluation.
        seconds: durations by step, "evaluation" and "total"; of an unfinished run those of its finished steps.
        detections: data set -> its detections.jsonl.
    """

    path: str
    name: str
    manifest: Dict[str, Any]
    steps: List[StepRecord]
    test_datasets: List[str]
    box_results: Dict[str, Dict[str, float]]
    seconds: Dict[str, float]
    detections: Dict[str, str]

    @property
    def finished(self) -> bool:
        """Whether the results are written and no step is running. Steps may be given, or left out."""
        return "total" in self.seconds and all(step.state != "running" for step in self.steps)


def read_run(run_dir: str) -> Run:
    """Read a run folder, finished or not.

    Raises:
        ReportError: it is not a run folder, or one of its files is damaged.
    """
    manifest = _read_json(run_dir, _MANIFEST)
    if manifest is None:
        raise ReportError(
            f"{run_dir} is not a run folder: it has no {_MANIFEST}, which a training in steps by tools/train_net.py "
            "writes there. There is no report of a joint training or of a single step."
        )
    if not isinstance(manifest.get("steps"), list):
        raise ReportError(f"{os.path.join(run_dir, _MANIFEST)} has no list of steps; is it of another program?")
    results = _read_json(run_dir, _RESULTS) or {}
    recall = results.get("proposals") or {}
    try:
        steps = [
            _read_step(run_dir, number, _marked(entry, manifest), recall.get(entry["name"]))
            for number, entry in enumerate(manifest["steps"], start=1)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportError(f"{os.path.join(run_dir, _MANIFEST)}: a step's entry lacks or garbles {error}.") from error
    detections = _find_detections(run_dir)
    test_datasets = _read_test_datasets(run_dir, [step.name for step in steps]) or list(detections)
    try:
        seconds = as_numbers(results.get("seconds") or {s.name: s.seconds for s in steps if s.seconds is not None})
        box_results = _box_results(results, test_datasets)
    except TypeError as error:
        raise ReportError(f"{os.path.join(run_dir, _RESULTS)} lacks or garbles {error}.") from error
    return Run(
        path=run_dir,
        name=str(manifest.get("name") or visible(os.path.basename(os.path.abspath(run_dir)))),
        manifest=manifest,
        steps=steps,
        test_datasets=test_datasets,
        box_results=box_results,
        seconds=seconds,
        detections=detections,
    )


def _read_json(run_dir: str, name: str) -> Optional[Dict[str, Any]]:
    path = os.path.join(run_dir, name)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, RecursionError, ValueError) as error:
        raise ReportError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise ReportError(f"{path} is damaged: it holds no JSON object")
    return visible_data(data)


def _marked(entry: Dict[str, Any], manifest: Dict[str, Any]) -> Dict[str, Any]:
    """The entry, saying so if the step is left out: in the manifest it is pending, for it may be run later."""
    return {**entry, "state": "left out"} if entry["name"] in manifest.get("left_out", ()) else entry


def _read_step(run_dir: str, number: int, entry: Dict[str, Any], recall: Optional[Dict[str, Any]]) -> StepRecord:
    name, kind, state = as_texts([entry["name"], entry["kind"], entry["state"]], list)
    if os.path.basename(name) != name or name in ("", os.curdir, os.pardir):
        raise TypeError(f"the name {reprlib.repr(name)}, which is no folder of the run's")
    proposals_in, seconds, memory = (entry.get(key) for key in ("proposals_in", "seconds", "peak_memory_mib"))
    return StepRecord(
        number=number,
        name=name,
        kind=kind,
        state=state,
        started_from=dict(as_texts(entry["started_from"], dict)),
        trained=list(as_texts(entry["trained"], list)),
        frozen=list(as_texts(entry["frozen"], list)),
        parameters={key: as_number(value, int) for key, value in dict(entry.get("parameters") or {}).items()},
        ims_per_batch=as_number(entry["ims_per_batch"], int),
        max_iter=as_number(entry["max_iter"], int),
        base_lr=as_number(entry["base_lr"]),
        gamma=as_number(entry.get("gamma", 0.1)),
        lr_steps=[as_number(step, int) for step in entry["lr_steps"]],
        proposals_in=None if proposals_in is None else as_texts([proposals_in], list)[0],
        seconds=None if seconds is None else as_number(seconds),
        peak_memory_mib=None if memory is None else as_number(memory),
        recall={dataset: as_numbers(values) for dataset, values in (recall or entry.get("recall") or {}).items()},
        scalars={} if state in _NOT_TRAINED else read_scalars(os.path.join(run_dir, name, _METRICS)),
    )


def _find_detections(run_dir: str) -> Dict[str, str]:
    root = os.path.join(run_dir, "inference")
    names = sorted(os.listdir(root)) if os.path.isdir(root) else []
    files = {visible(name): os.path.join(root, name, "detections.jsonl") for name in names}
    return {name: path for name, path in files.items() if os.path.isfile(path)}


def _read_test_datasets(run_dir: str, step_names: List[str]) -> List[str]:
    for folder in ["", *step_names]:
        path = os.path.join(run_dir, folder, "config.yaml")
        if os.path.isfile(path):
            try:
                with open(path, encoding="utf-8") as file:
                    return [visible(name) for name in as_texts(list(load_yaml(file)["DATASETS"]["TEST"]), list)]
            except (yaml.YAMLError, OSError, KeyError, TypeError):
                continue  # still being written, or somebody's own file
    return []


def _box_results(results: Dict[str, Any], test_datasets: List[str]) -> Dict[str, Dict[str, float]]:
    """By data set; detectron2 leaves the data set's name out where there is only one."""
    if "bbox" in results:
        return {test_datasets[0] if test_datasets else "test": as_numbers(results["bbox"])}
    of_data_sets = {name: results.get(name) for name in test_datasets}
    found = {name: values for name, values in of_data_sets.items() if isinstance(values, dict)}
    return {name: as_numbers(values["bbox"]) for name, values in found.items() if "bbox" in values}
