"""The AlternatingTrainer: runs a schedule step by step and assembles one network (paper section 3.2).

Everything that a step learns from an earlier one passes through files, so that a run can be cut anywhere between two
of them and go on; what is finished is known from the manifest.
"""

import logging
import os
import time
from typing import Any, Dict, Iterator, List, Optional

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm

from ..checkpointing import SafeCheckpointer, file_sha256
from ..data import hash_dicts, load_training_dicts, seed_for
from .assemble import assemble, final_config
from .checks import check_config
from .defaults import ConfigError
from .manifest import FINISHED, PENDING, Manifest, command_of_weights, write_json
from .plan import Plan, make_plan
from .run_step import StepRun
from .schedule import build_schedule
from .single_step import Evaluates, data_problems
from .trainer_registry import TRAINER_REGISTRY

__all__ = ["AlternatingTrainer"]

logger = logging.getLogger(__name__)


@TRAINER_REGISTRY.register()
class AlternatingTrainer(Evaluates):
    """Trains ``cfg`` by its schedule into cfg.OUTPUT_DIR.

    Args:
        cfg: the run's config, frozen or not; data sets registered.
        resume: go on with the run that is in OUTPUT_DIR, if there is one.

    Attributes:
        config_file: the yaml that `cfg` was read from, for the manifest; the command line sets it.
    """

    config_file: str = ""

    def __init__(self, cfg: CfgNode, *, resume: bool = False):
        self.cfg = cfg.clone()
        self.cfg.freeze()
        self.resume = resume
        self.output_dir = cfg.OUTPUT_DIR

    def plan(self) -> Plan:
        """Plan the run and check all of it: keys, data sets, files, shapes. At most malformed.txt is written.

        When a run is resumed, the plan's entries say how far each step is.
        """
        problems = check_config(self.cfg) + data_problems(self.cfg)
        if any(problem.startswith("SCHEDULE.NAME") for problem in problems):
            return Plan(problems=problems)
        plan = make_plan(self.cfg, build_schedule(self.cfg), problems)
        try:
            manifest = self._earlier_manifest(plan)
        except ConfigError as error:
            plan.problems.append(str(error))
            return plan
        if manifest is None:
            return plan
        for entry, earlier in zip(plan.steps, manifest.data["steps"]):
            entry["state"] = earlier["state"]
        if not plan.problems:  # else files that the steps start from may be missing
            plan.problems += self._refused_step(manifest)
        return plan

    def train(self) -> Dict[str, Any]:
        """Run all steps that are not finished, assemble, evaluate; returns detectron2's dictionary of results.

        Raises:
            ConfigError: the plan has problems, or the folder's run was made with another config.
        """
        plan = self.plan()
        if plan.problems:
            raise ConfigError(f"the run cannot start, {len(plan.problems)} to mend at the end of its plan:\n{plan}")
        logger.info("\n%s", plan)
        manifest = self._open_manifest(plan)
        comm.synchronize()
        seconds_per_image: Dict[str, float] = {}
        files: Dict[str, str] = {}
        for index, run in enumerate(self._step_runs(manifest)):
            run.run(index, seconds_per_image)
            files[run.step.name] = run.weights
        if comm.is_main_process():
            assembly = build_schedule(self.cfg).assembly
            weights = assemble(self.cfg, assembly, files, self.output_dir)
            manifest.data["assembled"] = {"from": assembly, "path": weights, "sha256": file_sha256(weights)}
            manifest.write()
        comm.synchronize()
        return self._evaluate(manifest)

    def _step_runs(self, manifest: Manifest) -> Iterator[StepRun]:
        """Yield the steps one by one; the next only after the one before is finished, for it starts from its files."""
        weights_hash = file_sha256(self.cfg.MODEL.WEIGHTS) if self.cfg.MODEL.WEIGHTS else ""
        data_hash = hash_dicts(load_training_dicts(self.cfg))
        runs: Dict[str, StepRun] = {}
        for index, step in enumerate(build_schedule(self.cfg).steps):
            seed = seed_for(manifest.data["seed"], index)
            runs[step.name] = StepRun(self.cfg, step, seed, manifest, runs, weights_hash, data_hash)
            yield runs[step.name]

    def _refused_step(self, manifest: Manifest) -> List[str]:
        """Say of the first step that cannot be gone on with what has changed; those after it are stale with it."""
        for run in self._step_runs(manifest):
            problem = run.problem()
            if problem:
                return [problem]
            if manifest.step(run.step.name)["state"] != FINISHED:
                break
        return []

    def _earlier_manifest(self, plan: Plan) -> Optional[Manifest]:
        """The manifest of the run to resume; None where there is none.

        Raises:
            ConfigError: it is damaged, or that of a run of other steps.
        """
        manifest = Manifest.read(self.output_dir) if self.resume else None
        if manifest is None or not plan.steps:  # of a plan with problems steps may be missing
            return None
        names = [entry["name"] for entry in manifest.data["steps"]]
        if names != [entry["name"] for entry in plan.steps] and not plan.problems:
            raise ConfigError(
                f"{self.output_dir} holds a run of other steps: {', '.join(names)}. Choose another OUTPUT_DIR."
            )
        return manifest

    def _open_manifest(self, plan: Plan) -> Manifest:
        manifest = self._earlier_manifest(plan)
        if manifest is not None:
            for old, new in zip(manifest.data["steps"], plan.steps):
                if old["state"] == PENDING:
                    old.update(new)
            return manifest
        seed = self.cfg.SEED if self.cfg.SEED >= 0 else comm.shared_random_seed() % 2**31
        name = os.path.basename(os.path.normpath(self.output_dir))
        manifest = Manifest.new(self.output_dir, name, self.cfg.SCHEDULE.NAME, seed, plan.steps)
        manifest.data["config_file"] = self.config_file
        manifest.data["weights_command"] = command_of_weights(self.cfg.MODEL.WEIGHTS)
        manifest.write()
        return manifest

    def _evaluate(self, manifest: Manifest) -> Dict[str, Any]:
        started = time.perf_counter()
        results: Dict[str, Any] = {}
        if self.cfg.DATASETS.TEST:
            final = final_config(self.cfg, os.path.join(self.output_dir, "model_final.pth"))
            model = build_model(final)
            SafeCheckpointer(model).load(final.MODEL.WEIGHTS)
            with torch.no_grad():
                results = dict(self.test(final, model))
        steps: List[Dict[str, Any]] = [entry for entry in manifest.data["steps"] if entry["state"] == FINISHED]
        seconds = {entry["name"]: round(entry["seconds"], 1) for entry in steps}
        seconds["evaluation"] = round(time.perf_counter() - started, 1)
        seconds["total"] = round(sum(seconds.values()), 1)
        results["proposals"] = {entry["name"]: entry["recall"] for entry in steps if entry.get("recall")}
        results["seconds"] = seconds
        if comm.is_main_process():
            write_json(results, os.path.join(self.output_dir, "results.json"))
        return results
