"""From a table's networks to trainings: commands, and the steps that one does for another.

Trainings are compared step by step before any of them runs (``step_keys``). A training whose first steps are another's
takes them from that run (``--from-run``), and if all are, it only puts them together.
"""

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from detectron2.config import CfgNode

from ..checkpointing import missing_files
from ..data import DatasetError, register_datasets
from ..engine import ConfigError, build_schedule, check_config
from ..engine.schedule import Schedule
from ..engine.single_step import data_problems
from ..engine.step import configure_step
from ..engine.step_keys import step_keys
from .commands import Commands
from .data_sets import data_of, own_catalogs
from .table import OWN_KEYS, Network, Table
from .tasks import TRAIN, Task
from .training import Training, as_words, begun_with, config_of, most_in_common

__all__ = ["Trainings"]


class Trainings:
    """All trainings of a sweep; planning one plans what it rests on.

    Args:
        table: the table.
        folder: of the sweep.
        tools: folder of the command line tools.
        opts: KEY VALUE ... for every command.
        pretrain: whether initial weights that are not there are made, by tools/pretrain_backbone.py.

    Attributes:
        commands: what their command lines have in common.
        tasks: all that have been planned, in an order in which they can be done.
    """

    def __init__(self, table: Table, folder: str, tools: str, opts: Sequence[str], pretrain: bool):
        self.table = table
        self.folder = folder
        self.commands = Commands(table, tools, opts)
        self.pretrain = pretrain
        self.tasks: Dict[str, Task] = {}
        self._problems: Dict[str, List[str]] = {}
        self._trainings: Dict[Tuple[str, int], Training] = {}
        self._being_planned: List[str] = []
        self._data_problems: Dict[str, List[str]] = {}
        self._first_base: Dict[Tuple[str, str], str] = {}  # of (method, data sets)

    def plan(self, names: Sequence[str], seed: int) -> None:
        """Plan these networks with one seed: those that have begun first, then those of most steps.

        Others can then take their steps.
        """

        def order(name: str) -> Tuple[bool, int]:
            return begun_with(self._folder(name, seed)) is None, -len(self._schedule_of(name))

        for name in sorted(names, key=order):
            self.training(name, seed)

    def _folder(self, network: str, seed: int) -> str:
        return os.path.join(self.folder, "runs", f"{network}-seed{seed}")

    def _schedule_of(self, name: str) -> Tuple[Any, ...]:
        words = self.commands.of_training(self.table.networks[name], 0, "")
        try:
            return build_schedule(self.commands.config(words[1:])).steps
        except (ConfigError, DatasetError, KeyError, ValueError):
            return ()  # planning it will say so

    def add(self, task: Task) -> Task:
        """Add a task unless it is there.

        Raises:
            ConfigError: another one has its name.
        """
        if self.tasks.setdefault(task.name, task) != task:
            raise ConfigError(f"two tasks would be called {task.name}: give a network or a row another name.")
        return task

    def base_of_external(self, method: str, base: str) -> str:
        """The base that stands for `base` in making proposals by a method: the first with the same data sets."""
        return self._first_base.setdefault((method, data_of(self.commands.base_config(base))), base)

    def external_proposals(self, method: str, base: str) -> Task:
        """Proposals of a method without a network over the data sets of a base; bases of the same ones share them."""
        base = self.base_of_external(method, base)
        data = data_of(self.commands.base_config(base))
        name = f"{method}-{base}"
        folder = os.path.join(self.folder, "proposals", name)
        words = [self.commands.tool("make_proposals.py"), method, *self.commands.of_base(base), "--split", "both"]
        return self.add(Task(name, "proposals", (*words, "--output", folder, *self.commands.opts), folder, config=data))

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
        own = [key for key in (*self.commands.opts[::2], *network.opts) if key in OWN_KEYS]
        if own:
            raise ConfigError(f"{' and '.join(own)}: the sweep sets that itself (--seeds, --output).")
        folder = self._folder(network.name, seed)
        task_name = os.path.basename(folder)
        needs: List[str] = []
        words = self.commands.of_training(network, seed, folder)
        cfg = self.commands.config(words[1:])
        if network.proposals:
            if data_of(cfg) != data_of(self.commands.base_config(network.base)):
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
        cfg = self.commands.config(words[1:])
        schedule = build_schedule(cfg)
        keys = step_keys(cfg, schedule)
        self._check(network, cfg)
        if not network.trained:
            words[words.index("--resume")] = "--eval-only"
            task = Task(task_name, "evaluate", tuple(words), folder, tuple(needs), config=config_of(cfg))
            return Training(self.add(task), cfg, schedule, {})
        provider, count = self._provider(folder, seed, schedule, keys)
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

    def _provider(
        self, folder: str, seed: int, schedule: Schedule, keys: Mapping[str, str]
    ) -> Tuple[Optional[Training], int]:
        """Which training the one in `folder` takes its first steps from, and how many; as it began, if it has."""
        begun = begun_with(folder)
        if begun is None:
            earlier = [one for (_, other), one in self._trainings.items() if other == seed]
            return most_in_common(earlier, schedule, keys)
        name, count = begun
        if not count:
            return None, 0
        network = name.rpartition("-seed")[0]
        provider = self.training(network, seed) if network in self.table.networks else None
        if provider is None or most_in_common([provider], schedule, keys)[1] < count:
            raise ConfigError(
                f"the training in {folder} was begun with steps of {name}, which is not in the tables any more, or has "
                "other steps now: put it back, or remove the folder, which is trained anew then."
            )
        return provider, count

    def _check(self, network: Network, cfg: CfgNode) -> None:
        without_files = cfg.clone()
        without_files.defrost()
        without_files.MODEL.WEIGHTS = ""  # may be made by another task
        data = data_of(cfg)
        if data not in self._data_problems:  # all images are looked at, once
            without_files.OUTPUT_DIR = os.path.join(self.folder, "data", network.name)  # for a list of what is wrong
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
        base = self.commands.base_config(network.base)
        if cfg.MODEL.BACKBONE != base.MODEL.BACKBONE or cfg.MODEL.ROI_BOX_HEAD.FC_DIM != base.MODEL.ROI_BOX_HEAD.FC_DIM:
            raise ConfigError("its MODEL.BACKBONE is not that of its base, of which --pretrain makes weights.")
        name = f"pretrain-{network.base}"
        folder = os.path.join(self.folder, "pretrained", network.base)
        words = [self.commands.tool("pretrain_backbone.py"), *self.commands.of_base(network.base), "--resume"]
        words += [*self.commands.opts, "MODEL.WEIGHTS", os.path.join(folder, "weights.pth")]
        how = {"iterations": base.PRETRAIN.MAX_ITER, "config": config_of(base)}
        return self.add(Task(name, "pretrain", tuple(words), folder, **how))

    def _weights_of(self, network: Network, seed: int) -> Tuple[Task, str]:
        """The task that makes the detector which `network` starts from, and its weight file."""
        source = self.training(network.weights_of, seed)
        if source is None:
            raise ConfigError(f"weights_of {network.weights_of}: that network cannot be planned.")
        if not network.classes:
            return source.task, source.weights
        name = f"{network.weights_of}-for-{network.name}-seed{seed}"
        folder = os.path.join(self.folder, "converted", name)
        chosen = os.path.join(folder, "model.pth")
        words = [self.commands.tool("convert_weights.py"), *self.commands.of_base(network.base, network.overlays)]
        words += ["--classes", network.classes, "--overwrite", "-o", chosen, source.weights]
        words += [*self.commands.opts, *as_words(network.opts)]
        config = config_of(self.commands.config(self.commands.of_training(network, seed, "")[1:]))
        return self.add(Task(name, "convert", tuple(words), folder, (source.task.name,), config=config)), chosen
