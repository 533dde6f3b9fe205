"""The AlternatingTrainer: runs a schedule step by step and assembles one network (paper section 3.2).

Everything that a step learns from an earlier one passes through files, so that a run can be cut anywhere between two
of them and go on; what is finished is known from the manifest.
"""

import logging
import os
import time
from typing import Any, Dict, Iterator, List, Tuple, Union

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm

from ..checkpointing import SafeCheckpointer, file_sha256
from ..data import forget_skipped_images, hash_dicts, load_training_dicts, seed_for
from ..proposals import ProposalSetError
from .assemble import assemble, final_config
from .checks import check_config
from .class_checks import class_problems
from .defaults import ConfigError
from .evaluates import Evaluates, skipped_in_evaluation
from .file_checks import overwritten_file_problems
from .given_step import GivenStep
from .make_plan import make_plan
from .manifest import FINISHED, Manifest, write_json
from .network import FAST_RCNN, RPN, configure_network
from .open_manifest import earlier_manifest, open_manifest
from .plan import Plan, refuse_to_start
from .restart import begun_from, forget_from, number_of_step, restart_problems
from .run_step import StepRun
from .schedule import SCHEDULE_REGISTRY, Schedule, build_schedule
from .single_step import data_problems
from .step import FILES
from .step_selection import Selection, select_steps
from .stored_proposals import check_proposal_sets
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
        restart_from: with `resume`, number (from 1) or name of the step from which on all are made anew; "" for none.
    """

    config_file: str = ""
    restart_from: str = ""

    def __init__(self, cfg: CfgNode, *, resume: bool = False):
        self.cfg = cfg.clone()
        self.cfg.freeze()
        self.resume = resume
        self.output_dir = cfg.OUTPUT_DIR

    def plan(self) -> Plan:
        """Plan the run and check all of it: keys, data sets, files, shapes. At most malformed.txt is written.

        When a run is resumed, the plan's entries say how far each step is.
        """
        return self._plan()[0]

    def _plan(self) -> Tuple[Plan, Selection]:
        nothing = Selection(())
        if self.cfg.SCHEDULE.NAME not in SCHEDULE_REGISTRY:
            return Plan(problems=check_config(self.cfg)), nothing  # which says so
        try:
            schedule = build_schedule(self.cfg)
            as_it_is = earlier_manifest(self.output_dir, schedule) if self.resume else None
            number = number_of_step(schedule, self.restart_from) if self.restart_from else 0
            if number and as_it_is is None:
                raise ConfigError(f"--restart-from {self.restart_from}: {self.output_dir} holds no run.")
            manifest = forget_from(as_it_is, number, self.cfg) if number else as_it_is
        except ConfigError as error:
            return Plan(problems=[*check_config(self.cfg), str(error)]), nothing
        except Exception as error:  # whatever somebody's own schedule objects to
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            return Plan(
                problems=[*check_config(self.cfg), f"SCHEDULE.NAME {self.cfg.SCHEDULE.NAME!r}: {what}"]
            ), nothing
        selection = select_steps(self.cfg, schedule, manifest)
        cfg = self.cfg.clone()
        cfg.defrost()
        if not selection.starts_from_weights(schedule):
            cfg.MODEL.WEIGHTS = ""  # no matter whether there is such a file
        problems = check_config(cfg) + data_problems(cfg) + list(selection.problems)
        problems += class_problems(cfg) if schedule.network != RPN else []
        problems += overwritten_file_problems(cfg, [step.name for step in schedule.steps])
        if not problems:  # else the data sets cannot be loaded
            problems += self._file_problems(schedule, selection)
        problems += restart_problems(as_it_is, number, selection) if number else []
        plan = make_plan(cfg, schedule, selection, problems, manifest)
        if number:
            plan.anew = begun_from(as_it_is, number)
            plan.remarks.append(
                f"--restart-from {number} removes from {self.output_dir} what {' and '.join(plan.anew) or 'no step'} "
                "left, and what was made of it."
            )
        if manifest is not None and not plan.problems:  # else files that the steps start from may be missing
            plan.problems += self._refused_step(schedule, selection, manifest)
        return plan, selection

    def _file_problems(self, schedule: Schedule, selection: Selection) -> List[str]:
        """What is wrong with the proposal sets that the config names, if a step trains on them."""
        if all(schedule[name].proposals_from != FILES for name in selection.trained):
            return []
        cfg = self.cfg.clone()
        cfg.defrost()
        configure_network(cfg, FAST_RCNN)
        return check_proposal_sets(cfg, "TRAIN") + check_proposal_sets(cfg, "TEST")

    def train(self) -> Dict[str, Any]:
        """Run all steps that are not finished, assemble, evaluate; returns detectron2's dictionary of results.

        Raises:
            ConfigError: the plan has problems, or the folder's run was made with another config.
        """
        plan, selection = self._plan()
        refuse_to_start(plan)
        logger.info("\n%s", plan)
        schedule = build_schedule(self.cfg)
        # What is given may be another run that still goes on: all processes take what the main one saw.
        selection = comm.all_gather(selection)[0]
        manifest = open_manifest(
            self.cfg,
            schedule,
            selection,
            plan,
            resume=self.resume,
            config_file=self.config_file,
            restart_from=self.restart_from,
        )
        seconds_per_image: Dict[str, float] = {}
        files: Dict[str, str] = {}
        for run in self._step_runs(schedule, selection, manifest):
            run.run(seconds_per_image)
            files[run.step.name] = run.weights
        missing = sorted(set(schedule.assembly.values()) - set(files))
        if missing:
            logger.info("No final network yet: %s not run. --resume with other --steps goes on.", ", ".join(missing))
            return {}
        if comm.is_main_process():
            weights = assemble(self.cfg, schedule.assembly, files, self.output_dir, schedule.network)
            manifest.data["assembled"] = {"from": schedule.assembly, "path": weights, "sha256": file_sha256(weights)}
            manifest.write()
        comm.synchronize()
        return self._evaluate(manifest, schedule.network)

    def _step_runs(
        self, schedule: Schedule, selection: Selection, manifest: Manifest
    ) -> Iterator[Union[StepRun, GivenStep]]:
        """Yield the steps one by one; the next only after the one before is finished, for it starts from its files."""
        weights = self.cfg.MODEL.WEIGHTS
        weights_hash = file_sha256(weights) if weights and selection.starts_from_weights(schedule) else ""
        data_hash = hash_dicts(load_training_dicts(self.cfg))
        runs: Dict[str, Union[StepRun, GivenStep]] = {}
        for index, step in enumerate(schedule.steps):
            if step.name in selection.left_out:
                continue
            if step.name in selection.given:
                runs[step.name] = GivenStep(self.cfg, schedule, step, selection, manifest)
            else:
                seed = seed_for(manifest.data["seed"], index)
                runs[step.name] = StepRun(self.cfg, schedule, step, seed, manifest, runs, weights_hash, data_hash)
            yield runs[step.name]

    def _refused_step(self, schedule: Schedule, selection: Selection, manifest: Manifest) -> List[str]:
        """Say of the first step that cannot be gone on with what has changed; those after it are stale with it."""
        for run in self._step_runs(schedule, selection, manifest):
            problem = run.problem()
            if problem:
                return [problem]
            if run.is_complete():
                continue
            if self.restart_from and isinstance(run, StepRun):  # while what would be removed is still there
                try:
                    run.verify_proposals()
                except (ConfigError, ProposalSetError) as error:
                    return [str(error)]
            break
        return []

    def _evaluate(self, manifest: Manifest, network: str) -> Dict[str, Any]:
        started = time.perf_counter()
        results: Dict[str, Any] = {}
        forget_skipped_images()
        if self.cfg.DATASETS.TEST:
            final = final_config(self.cfg, os.path.join(self.output_dir, "model_final.pth"), network)
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
        results.update(skipped_in_evaluation())
        if comm.is_main_process():
            write_json(results, os.path.join(self.output_dir, "results.json"))
        return results
