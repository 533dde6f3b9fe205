"""Running one step: initial weights, statistics, training, the proof that frozen tensors stood still, proposals."""

import json
import logging
import os
import time
from typing import Any, Callable, Dict, Mapping, Optional

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from ..checkpointing import file_sha256, hash_tensors, select_components
from ..data import forget_skipped_images, skipped_images
from .changes import what_changed
from .defaults import ConfigError
from .freezing import hold_frozen_norms
from .hooks import PROPOSALS, ScheduleProgress, step_log
from .initialize import initialize_step
from .manifest import FINISHED, RUNNING, Manifest, config_hash, write_text
from .peak_memory import PeakMemory
from .restart import files_of_training
from .schedule import Schedule
from .step import FILES, WEIGHTS, Step, configure_step, recomputes_flipped_images
from .step_proposals import (
    ProposalInputs,
    inputs_from_files,
    inputs_from_step,
    verify_content,
    verify_proposals,
    write_proposals,
)
from .step_trainer import StepTrainer

__all__ = ["StepRun"]

logger = logging.getLogger(__name__)


class StepRun:
    """One step of a run, in its own folder.

    Args:
        cfg: the run's config.
        schedule: its schedule.
        step: what to do.
        seed: of this step.
        manifest: the run's manifest.
        earlier: step name -> the runs before this one, finished.
        weights_hash: sha256 of the file MODEL.WEIGHTS, "" without one.
        data_hash: of the training images' names, sizes and boxes.
    """

    def __init__(
        self,
        cfg: CfgNode,
        schedule: Schedule,
        step: Step,
        seed: int,
        manifest: Manifest,
        earlier: Mapping[str, "StepRun"],
        weights_hash: str,
        data_hash: str,
    ):
        self.step = step
        self.number = schedule.steps.index(step) + 1
        self.seed = seed
        self.manifest = manifest
        self.earlier = dict(earlier)
        self.output_dir = os.path.join(cfg.OUTPUT_DIR, step.name)
        self.weights = os.path.join(self.output_dir, "model_final.pth")
        self.source = self.earlier.get(step.proposals_from)
        # Of a step that makes proposals: whether there will be a second set. Nobody reads it if no detector is trained.
        self.recomputes_flipped = recomputes_flipped_images(cfg) and (
            schedule.is_trained_on(step.name) or not step.makes_proposals
        )
        self.proposals = self._proposal_inputs(cfg)
        self.cfg = configure_step(cfg, step, self.output_dir, self.proposals.files, self.proposals.files_test)
        inputs = {"seed": str(seed), "init": json.dumps(step.init, sort_keys=True), "data": data_hash}
        if WEIGHTS in step.init.values():
            inputs[WEIGHTS] = weights_hash
        for name in step.needs:
            inputs[name] = manifest.output_hash(name)
        inputs.update(self.proposals.hashes)
        if step.makes_proposals and self.recomputes_flipped:
            inputs["flipped_images"] = "recomputed"  # no file that goes in, but one more that comes out
        if cfg.MODEL.PIXEL_MEAN_IMAGE:
            inputs["mean_image"] = file_sha256(cfg.MODEL.PIXEL_MEAN_IMAGE)
        self.hash = config_hash(self.cfg, inputs)

    def _proposal_inputs(self, cfg: CfgNode) -> ProposalInputs:
        if self.step.proposals_from == FILES:
            return inputs_from_files(cfg)
        if self.source is None:
            return ProposalInputs()
        step, folder = self.source.step.name, self.source.output_dir
        return inputs_from_step(cfg, self.manifest, step, folder, recompute_flipped=self.recomputes_flipped)

    def problem(self) -> Optional[str]:
        """Say what keeps this step from being gone on with.

        It was begun with another config or from other files, or is finished and its weights are not those it wrote.
        """
        entry = self.manifest.step(self.step.name)
        if entry["state"] in (RUNNING, FINISHED) and entry["config_hash"] != self.hash:
            return what_changed(self.output_dir, self.cfg, self.number)
        if entry["state"] != FINISHED:
            return None
        if os.path.isfile(self.weights) and file_sha256(self.weights) == entry["outputs"]["model"]["sha256"]:
            return None
        return (
            f"{self.weights} is not the file that {self.step.name} wrote: restore it, or make the step and those after "
            f"it anew: --restart-from {self.number}."
        )

    def is_complete(self) -> bool:
        """Whether later steps can start from what it left behind."""
        return self.manifest.step(self.step.name)["state"] == FINISHED

    def run(self, seconds_per_image: Dict[str, float]) -> None:
        """Do what the manifest does not show as done.

        Args:
            seconds_per_image: see `ScheduleProgress`.

        Raises:
            ConfigError: the folder holds this step made with another config or from other files.
        """
        problem = self.problem()
        if problem:
            raise ConfigError(problem)
        entry = self.manifest.step(self.step.name)
        if entry["state"] == FINISHED:
            logger.info("%s is finished: %s", self.step.name, self.weights)
            return
        began, before = time.perf_counter(), entry.get("seconds", 0.0)

        def spent() -> float:
            return before + time.perf_counter() - began

        forget_skipped_images()
        try:
            with step_log(self.output_dir):
                logger.info("=== %s ===", self.step.name)
                self._do(seconds_per_image, entry, spent)
        finally:  # also of a step that is cut, so that its time counts when it is resumed
            self._update(seconds=spent(), **self._skipped(skipped_images()))

    def _do(self, seconds_per_image: Dict[str, float], entry: Dict[str, Any], spent: Callable[[], float]) -> None:
        resume = entry["state"] == RUNNING
        if comm.is_main_process():
            if not resume:
                for path in files_of_training(self.output_dir):  # of an overwritten run: never to pass for this one's
                    os.remove(path)
            write_text(self.cfg.dump(), os.path.join(self.output_dir, "config.yaml"))
        comm.synchronize()
        self.verify_proposals()
        self._update(state=RUNNING, config_hash=self.hash)
        model = self._train(seconds_per_image, resume, entry)
        outputs: Dict[str, Any] = {"model": {"path": self.weights, "sha256": file_sha256(self.weights)}}
        recall: Dict[str, Any] = {}
        if self.step.makes_proposals:
            began = time.perf_counter()
            written, recall = write_proposals(self.cfg, model, recompute_flipped=self.recomputes_flipped)
            outputs.update(written)
            seconds_per_image[PROPOSALS] = (time.perf_counter() - began) / entry["proposal_images"]
        skipped = self._skipped(skipped_images(of_all_processes=True))
        # All at once: a run that is killed now, too, finds the step finished with all that later ones ask of it.
        self._update(state=FINISHED, outputs=outputs, recall=recall, seconds=spent(), **skipped)

    def _skipped(self, images: Dict[str, str]) -> Dict[str, Dict[str, str]]:
        """What the entry says of images that could not be read, also before a resume; nothing where there are none."""
        together = {**self.manifest.step(self.step.name).get("skipped_images", {}), **images}
        return {"skipped_images": together} if together else {}

    def verify_proposals(self) -> None:
        """Compare the proposals that it trains on, all of their bytes, with what the manifest and their hashes say.

        Raises:
            ConfigError, ProposalSetError: they are others, are not there, or are damaged.
        """
        mend = ""
        if self.source:
            step, folder, names = self.source.step.name, self.source.output_dir, self.cfg.DATASETS.TRAIN
            verify_proposals(self.manifest, step, folder, names, recompute_flipped=self.recomputes_flipped)
            mend = f"--restart-from {step} does, with all that comes after."
        verify_content((*self.proposals.files, *self.proposals.flipped_files), mend)

    def _update(self, **values: Any) -> None:
        self.manifest.update_step(self.step.name, **values)

    def _train(self, seconds_per_image: Dict[str, float], resume: bool, entry: Dict[str, Any]) -> nn.Module:
        data = self.manifest.data
        progress = ScheduleProgress(
            data["steps"], data["steps"].index(entry), seconds_per_image, data["evaluation_images"], data["left_out"]
        )
        trainer = StepTrainer(
            self.cfg,
            seed=self.seed,
            initialize=self._initialize,
            resume=resume,
            extra_hooks=[progress],
            flipped_proposal_files=self.proposals.flipped_files,
        )
        model = trainer.unwrapped_model
        before = _hash_frozen(model, self.cfg)
        if trainer.first_iteration > 0 and entry.get("frozen_hash", {}).get("before", before) != before:
            raise RuntimeError(f"{self.step.name}: the checkpoint's frozen tensors are not those the step began with.")
        self._update(frozen_hash={"before": before})
        memory = PeakMemory(self.cfg.MODEL.DEVICE)
        try:
            trainer.train()
        finally:  # also of a training that is cut, which goes on in another process
            if trainer.guard.skipped:
                self._update(nonfinite_skips=trainer.guard.skipped)
            self._update(peak_memory_mib=max(entry.get("peak_memory_mib") or 0, memory.mebibytes() or 0) or None)
        _share_buffers(model)
        if not os.path.isfile(self.weights):  # cut between its last periodic checkpoint and the final one
            trainer.checkpointer.save("model_final", iteration=self.cfg.SOLVER.MAX_ITER - 1)
        comm.synchronize()  # the main process has written
        after = _hash_frozen(model, self.cfg)
        self._update(frozen_hash={"before": before, "after": after})
        if before != after:
            frozen = ", ".join(self.cfg.MODEL.FREEZE_COMPONENTS)
            raise RuntimeError(f"{self.step.name} changed tensors that it had frozen: {frozen}.")
        return model

    def _initialize(self, model: nn.Module) -> None:
        files = {name: run.weights for name, run in self.earlier.items()}
        if self.cfg.MODEL.WEIGHTS:
            files[WEIGHTS] = self.cfg.MODEL.WEIGHTS
        initialize_step(self.cfg, self.step, model, files, self.proposals)


def _share_buffers(model: nn.Module) -> None:
    """Give every process the main one's buffers, which are saved; norms gather statistics of a process's own images."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def _hash_frozen(model: nn.Module, cfg: CfgNode) -> str:
    """Hash of every parameter that is not trained, and of all buffers of frozen components and held norms."""
    parameters = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    held = set(hold_frozen_norms(model))
    norms = [name for name, module in model.named_modules() if module in held]
    return hash_tensors({**parameters, **select_components(model.state_dict(), [*cfg.MODEL.FREEZE_COMPONENTS, *norms])})
