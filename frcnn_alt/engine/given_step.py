"""A step's place in a run when its outputs are given: nothing is trained; what is not given beside the weights is made.

An earlier run's files are used where they lie. Another file becomes the step's own ``model_final.pth``, in the form
that the rest of the run reads, whatever program wrote it. Proposals are computed where a later step trains on them.
"""

import logging
import os
import time
from typing import Any, Dict, Optional, Tuple

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..checkpointing import file_sha256, load_whole_network, pixels_of_config, write_checkpoint
from .defaults import ConfigError
from .hooks import PROPOSALS, step_log
from .manifest import GIVEN, PENDING, Manifest
from .schedule import Schedule
from .step import Step, configure_step, recomputes_flipped_images
from .step_proposals import has_proposals, write_proposals
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
        self.proposals_needed = selection.proposals_needed(schedule, step.name)
        self.started_from_it = [other.name for other in schedule.steps if step.name in other.needs]
        self.recomputes_flipped = recomputes_flipped_images(cfg)
        self.output_dir = os.path.join(cfg.OUTPUT_DIR, step.name)
        self.weights = os.path.join(self.output_dir, "model_final.pth")
        self._proposals_of = manifest  # whose they are: this run's, or the earlier one's
        if given.run is not None:
            self.weights = given.weights
            folder = os.path.join(os.path.dirname(given.run.path), step.name)
            if self._has_proposals(given.run, folder):
                self._proposals_of, self.output_dir = given.run, folder

    def _has_proposals(self, run: Manifest, folder: str) -> bool:
        step_cfg = configure_step(self.cfg, self.step, folder)
        return has_proposals(step_cfg, run, self.step.name, folder, recompute_flipped=self.recomputes_flipped)

    @property
    def _is_known(self) -> bool:
        """Whether the manifest's entry is of this file, which all of the step's outputs are then made of."""
        entry = self.manifest.step(self.step.name)
        return entry["state"] == GIVEN and entry["given"]["sha256"] == self.given.sha256

    def problem(self) -> Optional[str]:
        """Say what keeps the run from being gone on with: later steps began from another file."""
        entry = self.manifest.step(self.step.name)
        begun = [name for name in self.started_from_it if self.manifest.step(name)["state"] not in (PENDING, GIVEN)]
        if entry["state"] != GIVEN or self._is_known or not begun:
            return None
        return (
            f"{self.given.weights} stands in for {self.step.name}, but {' and '.join(begun)} in this folder started "
            f"from another file, {entry['given']['path']} as it was: put it back, choose another OUTPUT_DIR, or begin "
            "anew with --overwrite."
        )

    def is_complete(self) -> bool:
        """Whether later steps can start from it as it is."""
        return self._is_known and self._lacks() == (False, False)

    def _lacks(self) -> Tuple[bool, bool]:
        """Whether weights in the run's form, and whether proposals, are still to be made."""
        weights = False
        if self.given.run is None:
            made = self.manifest.step(self.step.name).get("outputs", {}).get("model", {}).get("sha256")
            weights = not (self._is_known and os.path.isfile(self.weights) and file_sha256(self.weights) == made)
        proposals_known = self._is_known or self._proposals_of is not self.manifest
        has_proposals = proposals_known and self._has_proposals(self._proposals_of, self.output_dir)
        return weights, self.proposals_needed and not has_proposals

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
        kept = entry.get("outputs", {}) if self._is_known else {}
        source = entry["given"] if self._is_known else self.given.for_manifest
        comm.synchronize()  # all have looked before one writes
        made: Dict[str, Any] = {}
        if lacks_weights or lacks_proposals:
            with step_log(self.output_dir):
                made = self._make(lacks_weights, lacks_proposals, seconds_per_image)
        elif self.proposals_needed:
            about = self._proposals_of.step(self.step.name)
            made = {"outputs": about["outputs"], "recall": about.get("recall", {})}
        model = {"path": self.weights, "sha256": file_sha256(self.weights)}
        outputs = {**kept, **made.get("outputs", {}), "model": model}
        self.manifest.update_step(
            self.step.name, state=GIVEN, given=source, outputs=outputs, recall=made.get("recall", {})
        )
        comm.synchronize()
        logger.info("%s is given: %s", self.step.name, self.given.weights)

    def _make(self, weights: bool, proposals: bool, seconds_per_image: Dict[str, float]) -> Dict[str, Any]:
        step_cfg = configure_step(self.cfg, self.step, self.output_dir)
        network = build_step_model(step_cfg)
        load_whole_network(network, self.given.weights, pixels_of_config(step_cfg))
        if weights and comm.is_main_process():
            write_checkpoint({"model": network.state_dict()}, self.weights)
        comm.synchronize()
        if not proposals:
            return {}
        began = time.perf_counter()
        written, recall = write_proposals(step_cfg, network, recompute_flipped=self.recomputes_flipped)
        images = self.manifest.step(self.step.name)["proposal_images"]
        seconds_per_image[PROPOSALS] = (time.perf_counter() - began) / images
        return {"outputs": written, "recall": recall}
