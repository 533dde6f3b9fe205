"""The registry from which the config key ``TRAINER`` chooses."""

from typing import Any, Dict, List, Optional, Protocol

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from fvcore.common.registry import Registry
from torch import nn

from .defaults import ConfigError
from .plan import Plan

__all__ = ["TRAINER_REGISTRY", "Trainer", "build_trainer"]

TRAINER_REGISTRY = Registry("TRAINER")
TRAINER_REGISTRY.__doc__ = "Registry of trainers: classes that are called with ``(cfg, resume=bool)``; see `Trainer`."


class Trainer(Protocol):
    """What a registered trainer does."""

    def plan(self) -> Plan:
        """Say what it will do, and what is to be mended first."""

    def train(self) -> Dict[str, Any]:
        """Do it; returns detectron2's dictionary of results."""

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: Optional[List[DatasetEvaluator]] = None
    ) -> Dict[str, Any]:
        """Evaluate a model, as detectron2's ``DefaultTrainer.test``."""


def build_trainer(cfg: CfgNode, *, resume: bool = False) -> Trainer:
    """Build the trainer that ``cfg.TRAINER`` names.

    Args:
        cfg: the run's config.
        resume: go on with the run in cfg.OUTPUT_DIR, if there is one.

    Raises:
        ConfigError: no trainer of that name is registered.
    """
    if cfg.TRAINER not in TRAINER_REGISTRY:
        names = ", ".join(sorted(name for name, _ in TRAINER_REGISTRY))
        raise ConfigError(f"TRAINER is {cfg.TRAINER!r}, which is not registered; registered are {names}.")
    return TRAINER_REGISTRY.get(cfg.TRAINER)(cfg, resume=resume)
