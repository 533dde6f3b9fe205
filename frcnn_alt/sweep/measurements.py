"""From a table's rows to measurements: which task measures a row, and in which file its numbers stand.

A row that tests a network as it was trained reads the results of the training. Others have tasks of their own, which
rows share where they can: the proposals of one RPN are computed once, as many as the row with most boxes needs, since
the best n of them are what the RPN alone would have given n of.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from detectron2.config import CfgNode

from ..config import get_cfg
from ..engine import ConfigError
from ..engine.defaults import merge_overrides
from ..engine.network import FAST_RCNN, ONE_STAGE
from .data_sets import test_data_of
from .networks import Trainings
from .table import EXTERNAL_PROPOSALS, Row, Table
from .tasks import Task
from .training import Training, as_words, file_of_evaluation

__all__ = ["Measurement", "Measurements"]

DRAW_KEY = "MODEL.RPN.RANDOM_DRAW_SEED"
# Recall rows are measured with as many proposals as Figure 4's last panel.
RECALL_BOXES = 2000


@dataclass(frozen=True)
class Measurement:
    """One number of a row: with one seed and one random draw.

    Attributes:
        row, seed: what of; a row that draws at random has several.
        task: name of the task that writes the file.
        results: the file.
    """

    row: str
    seed: int
    task: str
    results: str


class Measurements:
    """Plans what measures the rows of a table.

    Args:
        table: the table.
        tables: all of the sweep, which share proposals.
        trainings: of the same tables; its tasks gain those that measure.
    """

    def __init__(self, table: Table, tables: Sequence[Table], trainings: Trainings):
        self.table = table
        self.trainings = trainings
        self._rows = [row for one in tables for row in one.rows]

    def of_row(self, row: Row, seed: int) -> List[Measurement]:
        """Plan a row with one seed; empty if its network cannot be planned, which is among the problems then.

        Raises:
            ConfigError, DatasetError: `test` or `proposal_test` has a key that there is not, or a value of another
                kind; the network has no use for `boxes`; the proposals are of other images than it is tested on, or
                of a network without a RPN; the data sets of the base are not there.
        """
        for key in ("test", "proposal_test"):
            _with(get_cfg(), getattr(row, key), key)
        if row.measure == "recall":
            return self._recall(row, seed)
        training = self.trainings.training(row.network, seed)
        if training is None:
            return []
        if row.measure == "time":
            return self._time(row, seed, training)
        if row.proposals:
            return self._on_proposals(row, seed, training)
        test = _test_of(row, training)
        measurements = []
        for draw in range(row.draws):
            keys = {**test, DRAW_KEY: draw} if row.draws > 1 else test
            if _are_there(keys, training.cfg):  # as the training's own evaluation
                measurements.append(Measurement(row.name, seed, training.task.name, training.results))
            else:
                task = self._evaluation(row, seed, draw, training, as_words(keys))
                measurements.append(_of_evaluation(row, seed, task))
        return measurements

    def _most_boxes(self, row: Row, configured: int) -> int:
        """How many proposals the rows need that are measured on the same ones as `row`."""
        alike = [one for one in self._rows if _proposals_key(one) == _proposals_key(row)]
        return max(RECALL_BOXES if one.measure == "recall" else one.boxes or configured for one in alike)

    def _on_proposals(self, row: Row, seed: int, training: Training) -> List[Measurement]:
        measurements = []
        for draw in range(row.draws):
            task = self._proposals(row, seed, draw, row.proposals)
            if task is None:
                return []
            if test_data_of(self._source_config(row, seed)) != test_data_of(training.cfg):
                raise ConfigError(
                    f"proposals {row.proposals} are of other images than {row.network} is tested on: name a base with "
                    "the same data for each of them (--base)."
                )
            names = training.cfg.DATASETS.TEST
            files = tuple(os.path.join(task.folder, name) for name in names)
            keys: Dict[str, Any] = {
                "MODEL.LOAD_PROPOSALS": True,
                "MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals",
                "DATASETS.PROPOSAL_FILES_TEST": files,
                **row.test,
            }
            boxes = row.boxes or self._configured_boxes(row, seed)
            if boxes is not None:
                keys.setdefault("DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", boxes)
            evaluation = self._evaluation(row, seed, draw, training, as_words(keys), task.name)
            measurements.append(_of_evaluation(row, seed, evaluation))
        return measurements

    def _source_config(self, row: Row, seed: int) -> CfgNode:
        """Of the network that proposes, or of the base whose images somebody else's method searches."""
        source = row.proposals or row.network
        if source in EXTERNAL_PROPOSALS:
            return self.trainings.commands.base_config(self._base(row))
        return self.trainings.training(source, seed).cfg

    def _configured_boxes(self, row: Row, seed: int) -> Optional[int]:
        """How many an RPN's config asks for; the set may hold more, for other rows. None of external proposals."""
        if row.proposals in EXTERNAL_PROPOSALS:
            return None
        cfg = self._source_config(row, seed)
        return _with(cfg, row.proposal_test, "proposal_test").MODEL.RPN.POST_NMS_TOPK_TEST

    def _evaluation(
        self, row: Row, seed: int, draw: int, training: Training, words: Sequence[str], *needs: str
    ) -> Task:
        # With the table's name: rows of two tables may be called alike.
        name = f"test-{self.table.name}-{row.name}-seed{seed}" + (f"-draw{draw}" if row.draws > 1 else "")
        folder = os.path.join(self.trainings.folder, "tests", name)
        tool = self.trainings.commands.tool("train_net.py")
        command = (tool, "--config-file", training.config_file, "--eval-only", "OUTPUT_DIR", folder, *words)
        return self.trainings.add(Task(name, "evaluate", command, folder, (training.task.name, *needs)))

    def _proposals(self, row: Row, seed: int, draw: int, source: str) -> Optional[Task]:
        """The task that makes the proposals which a row is tested on; None if it cannot be planned."""
        if source in EXTERNAL_PROPOSALS:
            return self.trainings.external_proposals(source, self._base(row))
        training = self.trainings.training(source, seed)
        if training is None:
            return None
        if training.schedule.network in (FAST_RCNN, ONE_STAGE):
            raise ConfigError(f"proposals of {source}: that network has no RPN.")
        keys = dict(row.proposal_test)
        keys["MODEL.RPN.POST_NMS_TOPK_TEST"] = self._most_boxes(row, self._configured_boxes(row, seed))
        if row.draws > 1:
            keys[DRAW_KEY] = draw
        words = as_words(keys)
        name = f"proposals-{training.task.name}-{_short_hash(words)}"
        folder = os.path.join(self.trainings.folder, "proposals", name)
        tool = self.trainings.commands.tool("make_proposals.py")
        command = [tool, "rpn", "--config-file", training.config_file, "--split", "test", "--output", folder, *words]
        return self.trainings.add(Task(name, "proposals", tuple(command), folder, (training.task.name,)))

    def _base(self, row: Row) -> str:
        base = self.table.networks[row.network].base if row.network else next(iter(self.table.bases))
        return self.trainings.base_of_external(row.proposals, base)

    def _recall(self, row: Row, seed: int) -> List[Measurement]:
        measurements = []
        for draw in range(row.draws):
            source = row.proposals or row.network
            task = self._proposals(row, seed, draw, source)
            if task is None:
                return []
            cfg = self._source_config(row, seed)
            if source in EXTERNAL_PROPOSALS:
                config = [*self.trainings.commands.of_base(self._base(row)), *self.trainings.commands.opts]
            else:
                config = ["--config-file", self.trainings.training(source, seed).config_file]
            if len(cfg.DATASETS.TEST) != 1:
                raise ConfigError(f"recall is measured on one data set, and DATASETS.TEST is {cfg.DATASETS.TEST}.")
            name = f"recall-{task.name}"
            folder = os.path.join(self.trainings.folder, "recall", name)
            tool = self.trainings.commands.tool("evaluate_proposals.py")
            proposals = f"proposals={os.path.join(task.folder, *cfg.DATASETS.TEST)}"
            files, opts = config[:2], config[2:]
            command = (tool, *files, "--output", folder, proposals, *opts)
            recall = self.trainings.add(Task(name, "recall", command, folder, (task.name,)))
            results = os.path.join(folder, "recall.json")
            measurements.append(Measurement(row.name, seed, recall.name, results))
        return measurements

    def _time(self, row: Row, seed: int, training: Training) -> List[Measurement]:
        words = as_words(_test_of(row, training))
        name = f"time-{self.table.name}-{row.name}-seed{seed}"
        folder = os.path.join(self.trainings.folder, "times", name)
        tool = self.trainings.commands.tool("benchmark_parts.py")
        command = (tool, "--config-file", training.config_file, "--output", folder, *words)
        task = self.trainings.add(Task(name, "time", command, folder, (training.task.name,)))
        return [Measurement(row.name, seed, task.name, os.path.join(folder, "parts.json"))]


def _test_of(row: Row, training: Training) -> Dict[str, Any]:
    """The keys of a row's test of a network on its own proposals."""
    if row.boxes is None:
        return dict(row.test)
    network = training.schedule.network
    if network == ONE_STAGE:
        raise ConfigError(f"boxes has no effect on {row.network}, a detector of one stage: it looks at all windows.")
    stored = network == FAST_RCNN
    key = "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST" if stored else "MODEL.RPN.POST_NMS_TOPK_TEST"
    return {**row.test, key: row.boxes}


def _of_evaluation(row: Row, seed: int, task: Task) -> Measurement:
    return Measurement(row.name, seed, task.name, file_of_evaluation(task, "results.json"))


def _are_there(keys: Mapping[str, Any], cfg: CfgNode) -> bool:
    """Whether `cfg` has these values already."""
    return _with(cfg, keys, "") == cfg


def _with(cfg: CfgNode, keys: Mapping[str, Any], where: str) -> CfgNode:
    changed = cfg.clone()
    changed.defrost()
    merge_overrides(changed, as_words(keys), where)
    return changed


def _proposals_key(row: Row) -> str:
    return json.dumps([row.proposals or row.network, dict(row.proposal_test)], sort_keys=True)


def _short_hash(words: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:8]
