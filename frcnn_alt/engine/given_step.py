"""A step's place in a run when its outputs are given: nothing is trained; what is not given beside the weights is made.

An earlier run's files are used where they lie. Another file becomes the step's own ``model_final.pth``, in the form
that the rest of the run reads, whatever program wrote it. Proposals are computed where a later step trains on them.
"""

import logging
import os
from typing import Any, Dict, Optional

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..checkpointing import file_sha256, load_whole_network, pixels_of_config, write_checkpoint
from .given import Given
from .hooks import step_log
from .manifest import GIVEN, Manifest
from .step import Step, configure_step, recomputes_flipped_images
from .step_proposals import has_proposals, write_proposals
from .step_trainer import build_step_model

__all__ = ["GivenStep"]

logger = logging.getLogger(__name__)


class GivenStep:
    """Has what later steps ask of a `StepRun`: the step, its weights, the folder with its proposals.

    Args:
        cfg: the run's config.
        step: the step.
        given: what stands in for it.
        manifest: the run's manifest.
        proposals_needed: whether a later step trains on this one's proposals.
    """

    def __init__(self, cfg: CfgNode, step: Step, given: Given, manifest: Manifest, proposals_needed: bool):
        self.step = step
        self.cfg = cfg
        self.given = given
        self.manifest = manifest
        self.proposals_needed = proposals_needed
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
        return has_proposals(self.cfg, run, self.step.name, folder, recompute_flipped=self.recomputes_flipped)

    def problem(self) -> Optional[str]:
        """Nothing that a config could have changed."""
        return None

    def run(self, seconds_per_image: Dict[str, float]) -> None:
        """Note in the manifest what is given, and make what is needed besides.

        Raises:
            CheckpointError: the weights are not a whole network of this step.
        """
        source = {"path": self.given.weights, "sha256": file_sha256(self.given.weights)}
        entry = self.manifest.step(self.step.name)
        known = entry.get("given", {}).get("sha256") == source["sha256"]
        if not known:
            entry["outputs"] = {}
        needs_weights = self.given.run is None and not (known and os.path.isfile(self.weights))
        needs_proposals = self.proposals_needed and not self._has_proposals(self._proposals_of, self.output_dir)
        comm.synchronize()  # all have looked before one writes
        made: Dict[str, Any] = {}
        if needs_weights or needs_proposals:
            with step_log(self.output_dir):
                made = self._make(needs_weights, needs_proposals)
        elif self.proposals_needed:
            about = self._proposals_of.step(self.step.name)
            made = {"outputs": about["outputs"], "recall": about.get("recall", {})}
        model = {"path": self.weights, "sha256": file_sha256(self.weights)}
        outputs = {**entry.get("outputs", {}), **made.get("outputs", {}), "model": model}
        self.manifest.update_step(
            self.step.name, state=GIVEN, given=source, outputs=outputs, recall=made.get("recall", {})
        )
        comm.synchronize()
        logger.info("%s is given: %s", self.step.name, self.given.weights)

    def _make(self, weights: bool, proposals: bool) -> Dict[str, Any]:
        step_cfg = configure_step(self.cfg, self.step, self.output_dir)
        network = build_step_model(step_cfg)
        load_whole_network(network, self.given.weights, pixels_of_config(step_cfg))
        if weights and comm.is_main_process():
            write_checkpoint({"model": network.state_dict()}, self.weights)
        comm.synchronize()
        if not proposals:
            return {}
        written, recall = write_proposals(step_cfg, network, recompute_flipped=self.recomputes_flipped)
        return {"outputs": written, "recall": recall}
