"""One ordinary training of a config as it stands, with this package's data sets, evaluators and exact resume."""

from typing import Any, Dict, List, Optional

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator, verify_results
from detectron2.utils import comm
from torch import nn
from torch.utils.data import DataLoader

from ..checkpointing import SafeCheckpointer
from ..data import DatasetError, build_test_loader, check_datasets, load_dataset_dicts
from ..evaluation import build_evaluator
from .checks import check_config
from .defaults import ConfigError
from .plan import Plan
from .step_trainer import StepTrainer
from .trainer_registry import TRAINER_REGISTRY

__all__ = ["Evaluates", "SingleStepTrainer", "data_problems"]


def data_problems(cfg: CfgNode) -> List[str]:
    """Return what is malformed in the data sets of `cfg`, one text for all of it, or nothing."""
    try:
        check_datasets(cfg)
    except DatasetError as error:
        return [str(error)]
    return []


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
        """Evaluate `model` on DATASETS.TEST, as ``DefaultTrainer.test``, and compare with TEST.EXPECTED_RESULTS."""
        results = DefaultTrainer.test.__func__(cls, cfg, model, evaluators)
        if cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            verify_results(cfg, results)
        return results


@TRAINER_REGISTRY.register()
class SingleStepTrainer(Evaluates):
    """Trains all components of the config together on its ground truth, from MODEL.WEIGHTS.

    Args:
        cfg: any detectron2 config with this package's keys. A resume is exact if it sets SEED.
        resume: go on from the last checkpoint in cfg.OUTPUT_DIR.
    """

    def __init__(self, cfg: CfgNode, *, resume: bool = False):
        self.cfg = cfg.clone()
        self.cfg.freeze()
        self.resume = resume

    def plan(self) -> Plan:
        """Check the config, the data and the weights; a single training has no steps to list."""
        problems = check_config(self.cfg) + data_problems(self.cfg)
        return Plan(problems=problems, remarks=[] if problems else ["One training of all components; nothing to mend."])

    def train(self) -> Dict[str, Any]:
        """Train, then evaluate on DATASETS.TEST.

        Raises:
            ConfigError: there is something to mend.
        """
        plan = self.plan()
        if plan.problems:
            raise ConfigError(f"the training cannot start:\n{plan}")
        seed = self.cfg.SEED if self.cfg.SEED >= 0 else comm.shared_random_seed() % 2**31
        trainer = StepTrainer(self.cfg, seed=seed, resume=self.resume, initialize=self._load_weights)
        trainer.train()
        return self.test(self.cfg, trainer.unwrapped_model) if self.cfg.DATASETS.TEST else {}

    def _load_weights(self, model: nn.Module) -> None:
        SafeCheckpointer(model).load(self.cfg.MODEL.WEIGHTS)
