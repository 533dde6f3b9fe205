"""From a table's networks to trainings: commands, and the steps that one does for another.

Trainings are compared step by step before any of them runs (``step_keys``). A training whose first steps are another's
takes them from that run (``--from-run``), and if all are, it only puts them together.
"""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from detectron2.config import CfgNode

from ..checkpointing import missing_files
from ..data import DatasetError, register_datasets
from ..engine import ConfigError, build_schedule, check_config, default_argument_parser, setup_cfg
from ..engine.single_step import data_problems
from ..engine.step import configure_step
from ..engine.step_keys import step_keys
from .data_sets import config_of, data_of, own_catalogs
from .table import Network, Table
from .tasks import TRAIN, Task
from .training import Training, as_words, most_in_common

__all__ = ["Trainings"]

# Of every training; others' would mix up what is done with what is to be done.
_OWN_KEYS = ("SEED", "OUTPUT_DIR")


class Trainings:
    """All trainings of a sweep; planning one plans what it rests on.

    Args:
        table: the table.
        folder: of the sweep.
        tools: folder of the command line tools.
        opts: KEY VALUE ... for every command.
        pretrain: whether initial weights that are not there are made, by tools/pretrain_backbone.py.

    Attributes:
        tasks: all that have been planned, in an order in which they can be done.
    """

    def __init__(self, table: Table, folder: str, tools: str, opts: Sequence[str], pretrain: bool):
        self.table = table
        self.folder = folder
        self.tools = tools
        self.opts = list(opts)
        self.pretrain = pretrain
        self.tasks: Dict[str, Task] = {}
        self._problems: Dict[str, List[str]] = {}
        self._trainings: Dict[Tuple[str, int], Training] = {}
        self._being_planned: List[str] = []
        self._data_problems: Dict[str, List[str]] = {}
        self._first_base: Dict[Tuple[str, str], str] = {}  # of (method, data sets)

    def plan(self, names: Sequence[str], seed: int) -> None:
        """Plan these networks with one seed, those of most steps first, whose steps others can then take."""
        steps = {name: len(self._schedule_of(name)) for name in names}
        for name in sorted(names, key=lambda name: -steps[name]):
            self.training(name, seed)

    def _schedule_of(self, name: str) -> Tuple[Any, ...]:
        try:
            return build_schedule(self._cfg(self._words(self.table.networks[name], 0, "")[1:])).steps
        except (ConfigError, DatasetError, KeyError, ValueError):
            return ()  # planning it will say so

    def _tool(self, name: str) -> str:
        return os.path.join(self.tools, name)

    def add(self, task: Task) -> Task:
        """Add a task unless it is there.

        Raises:
            ConfigError: another one has its name.
        """
        if self.tasks.setdefault(task.name, task) != task:
            raise ConfigError(f"two tasks would be called {task.name}: give a network or a row another name.")
        return task

    def base_words(self, base: str, overlays: Sequence[str] = ()) -> List[str]:
        """--config-file FILE --overlay FILE ... of a base."""
        words = ["--config-file", self.table.bases[base]]
        return words + [word for file in overlays for word in ("--overlay", file)]

    def _words(self, network: Network, seed: int, folder: str) -> List[str]:
        words = [self._tool("train_net.py"), *self.base_words(network.base, network.overlays), "--resume"]
        return [*words, "OUTPUT_DIR", folder, "SEED", str(seed), *self.opts, *as_words(network.opts)]

    @staticmethod
    def _cfg(words: Sequence[str]) -> CfgNode:
        with own_catalogs():
            return setup_cfg(default_argument_parser().parse_args(list(words)))

    def base_config(self, base: str) -> CfgNode:
        """The config of a base, with the keys that every command has."""
        return self._cfg([*self.base_words(base), *self.opts])

    def external_proposals(self, method: str, base: str) -> Task:
        """Proposals of a method without a network over the data sets of a base; bases of the same ones share them."""
        data = data_of(self.base_config(base))
        base = self._first_base.setdefault((method, data), base)
        name = f"{method}-{base}"
        folder = os.path.join(self.folder, "proposals", name)
        words = [self._tool("make_proposals.py"), method, *self.base_words(base), "--split", "both"]
        return self.add(Task(name, "proposals", (*words, "--output", folder, *self.opts), folder, config=data))

    def training(self, name: str, seed: int) -> Optional[Training]:
        """The training of a network; None if it cannot be planned, which is among the problems then."""
        if (name, seed) in self._trainings:
            return self._trainings[name, seed]
        if name in self._being_planned:
            self.say(
                f"network {name}",
                f"rests on itself: weights_of leads from {' to '.join([*self._being_planned, name])}.",
            )
            return None
        self._being_planned.append(name)
        try:
            training = self._plan_training(self.table.networks[name], seed)
            self._trainings[name, seed] = training
            return training
        except (ConfigError, DatasetError, KeyError, ValueError) as error:
            self.say(f"network {name}", str(error))
            return None
        finally:
            self._being_planned.pop()

    def say(self, name: str, problem: str) -> None:
        """Note a problem of a network or a row."""
        names = self._problems.setdefault(problem, [])
        names += [] if name in names else [name]

    @property
    def problems(self) -> List[str]:
        """What is to be mended first, each once, with the networks or rows that it is about."""
        return [f"{', '.join(names)}: {problem}" for problem, names in self._problems.items()]

    def _plan_training(self, network: Network, seed: int) -> Training:
        own = [key for key in (*self.opts[::2], *network.opts) if key in _OWN_KEYS]
        if own:
            raise ConfigError(f"{' and '.join(own)}: the sweep sets that itself (--seeds, --output).")
        task_name = f"{network.name}-seed{seed}"
        folder = os.path.join(self.folder, "runs", task_name)
        needs: List[str] = []
        words = self._words(network, seed, folder)
        cfg = self._cfg(words[1:])
        if network.proposals:
            if data_of(cfg) != data_of(self.base_config(network.base)):
                raise ConfigError(f"its data sets are not those of its base, of which {network.proposals} is made.")
            source = self.external_proposals(network.proposals, network.base)
            needs.append(source.name)
            words += self._proposal_files(cfg, source.folder)
        if network.weights_of:
            task, weights = self._weights_of(network, seed)
            needs.append(task.name)
            words += ["MODEL.WEIGHTS", weights]
        elif cfg.MODEL.WEIGHTS and missing_files(cfg.MODEL.WEIGHTS):
            if not self.pretrain:
                raise ConfigError(
                    f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} does not exist: put it there, or --pretrain makes it from "
                    "crops of the training images."
                )
            needs += [(pretrained := self._pretrained(network, cfg)).name]
            words += ["MODEL.WEIGHTS", os.path.join(pretrained.folder, "weights.pth")]
        cfg = self._cfg(words[1:])
        schedule = build_schedule(cfg)
        keys = step_keys(cfg, schedule)
        self._check(network, cfg)
        if not network.trained:
            words[words.index("--resume")] = "--eval-only"
            task = Task(task_name, "evaluate", tuple(words), folder, tuple(needs), config=config_of(cfg))
            return Training(self.add(task), cfg, schedule, {})
        earlier = [one for (_, other), one in self._trainings.items() if other == seed]
        provider, count = most_in_common(earlier, schedule, keys)
        shared = schedule.steps[:count]
        about = ""
        if provider is not None:
            of_all = "none" if count == len(schedule.steps) else f"{count + 1}-"
            flags = ["--steps", of_all, "--from-run", provider.task.folder]
            at = words.index("--resume") + 1
            words[at:at] = flags
            needs.append(provider.task.name)
            about = f"{' and '.join(step.name for step in shared)} of {provider.task.name}"
        iterations = {step.name: configure_step(cfg, step, "").SOLVER.MAX_ITER for step in schedule.steps}
        saved = sum(iterations[step.name] for step in shared)
        total = sum(iterations.values())
        iterations_of = {"iterations": total - saved, "shared_iterations": saved, "about": about}
        task = Task(task_name, TRAIN, tuple(words), folder, tuple(needs), **iterations_of, config=config_of(cfg))
        return Training(self.add(task), cfg, schedule, keys)

    def _check(self, network: Network, cfg: CfgNode) -> None:
        without_files = cfg.clone()
        without_files.defrost()
        without_files.MODEL.WEIGHTS = ""  # may be made by another task
        data = data_of(cfg)
        if data not in self._data_problems:  # all images are looked at, once
            without_files.OUTPUT_DIR = os.path.join(self.folder, "data", network.base)  # for a list of what is wrong
            with own_catalogs():
                register_datasets(without_files)
                self._data_problems[data] = data_problems(without_files)
        for problem in check_config(without_files) + self._data_problems[data]:
            self.say(f"network {network.name}", problem)

    @staticmethod
    def _proposal_files(cfg: CfgNode, folder: str) -> List[str]:
        words = []
        for split in ("TRAIN", "TEST"):
            files = [os.path.join(folder, name) for name in cfg.DATASETS[split]]
            words += [f"DATASETS.PROPOSAL_FILES_{split}", str(tuple(files))]
        return words

    def _pretrained(self, network: Network, cfg: CfgNode) -> Task:
        base = self.base_config(network.base)
        if cfg.MODEL.BACKBONE != base.MODEL.BACKBONE or cfg.MODEL.ROI_BOX_HEAD.FC_DIM != base.MODEL.ROI_BOX_HEAD.FC_DIM:
            raise ConfigError("its MODEL.BACKBONE is not that of its base, of which --pretrain makes weights.")
        name = f"pretrain-{network.base}"
        folder = os.path.join(self.folder, "pretrained", network.base)
        words = [self._tool("pretrain_backbone.py"), *self.base_words(network.base), "--resume"]
        words += ["MODEL.WEIGHTS", os.path.join(folder, "weights.pth"), *self.opts]
        how = {"iterations": base.PRETRAIN.MAX_ITER, "config": config_of(base)}
        return self.add(Task(name, "pretrain", tuple(words), folder, **how))

    def _weights_of(self, network: Network, seed: int) -> Tuple[Task, str]:
        """The task that makes the detector which `network` starts from, and its weight file."""
        source = self.training(network.weights_of, seed)
        if source is None:
            raise ConfigError(f"weights_of {network.weights_of}: that network cannot be planned.")
        weights = os.path.join(source.task.folder, "model_final.pth")
        if not network.classes:
            return source.task, weights
        name = f"{network.weights_of}-for-{network.name}-seed{seed}"
        folder = os.path.join(self.folder, "converted", name)
        chosen = os.path.join(folder, "model.pth")
        words = [self._tool("convert_weights.py"), *self.base_words(network.base, network.overlays)]
        words += ["--classes", network.classes, "--overwrite", "-o", chosen, weights, *self.opts]
        task = Task(name, "convert", (*words, *as_words(network.opts)), folder, (source.task.name,))
        return self.add(task), chosen
