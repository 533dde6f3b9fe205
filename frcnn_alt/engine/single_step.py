"""One ordinary training of a config as it stands, with this package's data sets, evaluators and exact resume."""

from typing import Any, Dict, List, Optional

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator
from torch import nn
from torch.utils.data import DataLoader

from ..data import DatasetError, build_test_loader, check_datasets, load_dataset_dicts
from ..evaluation import build_evaluator
from .checks import check_config
from .plan import Plan
from .step_trainer import StepTrainer
from .trainer_registry import TRAINER_REGISTRY

__all__ = ["Evaluates", "SingleStepTrainer"]


class Evaluates:
    """The evaluation that all trainers of the registry share: detectron2's ``test`` over our loaders and evaluators."""

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        """Build the test loader of a registered data set."""
        return build_test_loader(cfg, load_dataset_dicts(dataset_name))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build the evaluator that fits the data set; detections go to ``OUTPUT_DIR/inference``."""
        return build_evaluator(cfg, dataset_name, cfg.OUTPUT_DIR)

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: Optional[List[DatasetEvaluator]] = None
    ) -> Dict[str, Any]:
        """Evaluate `model` on DATASETS.TEST, as ``DefaultTrainer.test``."""
        return DefaultTrainer.test.__func__(cls, cfg, model, evaluators)


@TRAINER_REGISTRY.register()
class SingleStepTrainer(Evaluates, StepTrainer):
    """Trains all components of the config together on its ground truth, from MODEL.WEIGHTS.

    Args:
        cfg: any detectron2 config with this package's keys.
        resume: go on from the last checkpoint in cfg.OUTPUT_DIR.
    """

    def __init__(self, cfg: CfgNode, *, resume: bool = False):
        seed = cfg.SEED if cfg.SEED >= 0 else int(torch.seed() % 2**31)
        super().__init__(cfg, seed=seed, resume=resume, initialize=self._load_weights)

    def _load_weights(self, model: nn.Module) -> None:
        self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])

    def plan(self) -> Plan:
        """Check the config and the data; a single training has no steps to list."""
        problems = check_config(self.cfg)
        try:
            check_datasets(self.cfg)
        except DatasetError as error:
            problems.append(str(error))
        return Plan(problems=problems)

    def train(self) -> Dict[str, Any]:
        """Train, then evaluate on DATASETS.TEST."""
        super().train()
        return self.test(self.cfg, self.unwrapped_model) if self.cfg.DATASETS.TEST else {}
