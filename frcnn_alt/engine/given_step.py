"""A step's place in a run when its outputs are given: nothing is trained; what is not given beside the weights is made.

An earlier run's files are used where they lie. Another file becomes the step's own ``model_final.pth``, in the form
that the rest of the run reads, whatever program wrote it. Proposals are computed where a step that is still to be
trained needs them. What a run has once begun with it goes on with, in whichever way it is given the same weights later.
"""

import logging
import os
import time
from typing import Any, Dict, List, Optional, Tuple

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..checkpointing import file_sha256, load_whole_network, pixels_of_config, write_checkpoint
from ..data import class_names_of
from .class_checks import record_of_classes
from .defaults import ConfigError
from .hooks import PROPOSALS, step_log
from .manifest import FINISHED, GIVEN, PENDING, RUNNING, Manifest
from .schedule import Schedule
from .step import Step, configure_step, recomputes_flipped_images
from .step_proposals import folder_of_proposals, has_proposals, write_proposals
from .step_selection import Selection
from .step_trainer import build_step_model

__all__ = ["GivenStep"]

logger = logging.getLogger(__name__)


class GivenStep:
    """Has what later steps ask of a `StepRun`: the step, its weights, the folder with its proposals.

    Args:
        cfg: the run's config.
        schedule: its schedule.
        step: the step.
        selection: what stands in for it.
        manifest: the run's manifest.
    """

    def __init__(self, cfg: CfgNode, schedule: Schedule, step: Step, selection: Selection, manifest: Manifest):
        self.step = step
        self.cfg = cfg
        self.manifest = manifest
        self.given = given = selection.given[step.name]
        self.started_from_it = [other.name for other in schedule.steps if step.name in other.needs]
        self.trained_on_it = [name for name in selection.trained if schedule[name].proposals_from == step.name]
        self.recomputes_flipped = recomputes_flipped_images(cfg)
        self.own_folder = own_folder = os.path.join(cfg.OUTPUT_DIR, step.name)
        entry = manifest.step(step.name)
        # An earlier run's file is used as it is, unless this run began with a copy of it: that has other bytes.
        self.is_in_place = given.run is not None
        if self._is_known and "model" in entry.get("outputs", {}):
            self.is_in_place = entry["outputs"]["model"]["sha256"] == given.sha256
        self.weights = given.weights if self.is_in_place else os.path.join(own_folder, "model_final.pth")
        self.output_dir, self._proposals_of = own_folder, None  # where the proposals are, and whose manifest tells so
        for run in (manifest if self._is_known else None, given.run):
            folder = None if run is None or self._proposals_of is not None else self._find_proposals(run)
            if folder is not None:
                self.output_dir, self._proposals_of = folder, run

    def _find_proposals(self, run: Manifest) -> Optional[str]:
        """The folder with all proposals that `run` says this step wrote: its own, or where these were given to it."""
        folders = (os.path.join(os.path.dirname(run.path), self.step.name), folder_of_proposals(run, self.step.name))
        for folder in filter(None, folders):
            step_cfg = configure_step(self.cfg, self.step, folder)
            if has_proposals(step_cfg, run, self.step.name, folder, recompute_flipped=self.recomputes_flipped):
                return folder
        return None

    def _are(self, names: List[str], *states: str) -> List[str]:
        return [name for name in names if self.manifest.step(name)["state"] in states]

    @property
    def _is_known(self) -> bool:
        """Whether the manifest's entry is of this file, which all of the step's outputs are then made of."""
        entry = self.manifest.step(self.step.name)
        return entry["state"] == GIVEN and entry["given"]["sha256"] == self.given.sha256

    def problem(self) -> Optional[str]:
        """Say what keeps the run from being gone on with: later steps began from other weights, or other proposals."""
        entry = self.manifest.step(self.step.name)
        begun = self._are(self.started_from_it, RUNNING, FINISHED)
        if entry["state"] != GIVEN or not begun:
            return None
        if not self._is_known:
            return (
                f"{self.given.weights} stands in for {self.step.name}, but {' and '.join(begun)} in this folder "
                f"started from another file, {entry['given']['path']} as it was: put it back, choose another "
                f"OUTPUT_DIR, or make these anew: --restart-from {begun[0]}."
            )
        on_proposals = self._are(self.trained_on_it, RUNNING, FINISHED)
        sets = entry.get("outputs", {}).get("proposals", {}).values()
        is_lost = not any(os.path.exists(about["path"]) for about in sets)  # which a finished step can do without
        if self._proposals_of is None and on_proposals and not (is_lost and not self._are(on_proposals, RUNNING)):
            return (
                f"{' and '.join(on_proposals)} in this folder began with proposals of {self.step.name} that are not "
                "there any more, or not of the images and settings of this config: put them or the config "
                f"back, choose another OUTPUT_DIR, or make these anew: --restart-from {on_proposals[0]}."
            )
        return None

    def is_complete(self) -> bool:
        """Whether later steps can start from it as it is."""
        return self._is_known and self._lacks() == (False, False)

    def _lacks(self) -> Tuple[bool, bool]:
        """Whether weights in the run's form, and whether proposals, are still to be made."""
        weights = False
        if not self.is_in_place:
            made = self.manifest.step(self.step.name).get("outputs", {}).get("model", {}).get("sha256")
            weights = not (self._is_known and os.path.isfile(self.weights) and file_sha256(self.weights) == made)
        return weights, self._proposals_of is None and bool(self._are(self.trained_on_it, PENDING))

    def run(self, seconds_per_image: Dict[str, float]) -> None:
        """Note in the manifest what is given, and make what is needed besides.

        Args:
            seconds_per_image: see `ScheduleProgress`.

        Raises:
            ConfigError: later steps began from another file.
            CheckpointError: the weights are not a whole network of this step.
        """
        problem = self.problem()
        if problem:
            raise ConfigError(problem)
        lacks_weights, lacks_proposals = self._lacks()
        entry = self.manifest.step(self.step.name)
        kept = entry if self._is_known else {"given": self.given.for_manifest}
        comm.synchronize()  # all have looked before one writes
        made: Dict[str, Any] = {}
        if lacks_weights or lacks_proposals:
            with step_log(self.own_folder):  # an earlier run's folder is only read
                made = self._make(lacks_weights, lacks_proposals, seconds_per_image)
        elif self._proposals_of is not None and self.trained_on_it:
            about = self._proposals_of.step(self.step.name)
            made = {"outputs": about["outputs"], "recall": about.get("recall", {})}
        model = {"path": self.weights, "sha256": file_sha256(self.weights)}
        outputs = {**kept.get("outputs", {}), **made.get("outputs", {}), "model": model}
        recall = made.get("recall", kept.get("recall", {}))
        self.manifest.update_step(self.step.name, state=GIVEN, given=kept["given"], outputs=outputs, recall=recall)
        comm.synchronize()
        logger.info("%s is given: %s", self.step.name, self.given.weights)

    def _make(self, weights: bool, proposals: bool, seconds_per_image: Dict[str, float]) -> Dict[str, Any]:
        step_cfg = configure_step(self.cfg, self.step, self.output_dir)
        network = build_step_model(step_cfg)
        data_sets = class_names_of(step_cfg.DATASETS.TRAIN)
        load_whole_network(network, self.given.weights, pixels_of_config(step_cfg), data_sets)
        if weights and comm.is_main_process():
            record = record_of_classes(step_cfg) if hasattr(network, "roi_heads") else {}
            write_checkpoint({"model": network.state_dict(), "frcnn_alt": record}, self.weights)
        comm.synchronize()
        if not proposals:
            return {}
        began = time.perf_counter()
        written, recall = write_proposals(step_cfg, network, recompute_flipped=self.recomputes_flipped)
        images = self.manifest.step(self.step.name)["proposal_images"]
        seconds_per_image[PROPOSALS] = (time.perf_counter() - began) / images
        return {"outputs": written, "recall": recall}
