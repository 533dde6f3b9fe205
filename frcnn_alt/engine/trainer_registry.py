"""The registry from which the config key ``TRAINER`` chooses."""

from detectron2.config import CfgNode
from fvcore.common.registry import Registry

from .defaults import ConfigError

__all__ = ["TRAINER_REGISTRY", "build_trainer"]

TRAINER_REGISTRY = Registry("TRAINER")
TRAINER_REGISTRY.__doc__ = """
Registry of trainers. The registered class is called with ``(cfg, resume=bool)``; it has ``plan()``, which returns a
:class:`Plan`, ``train()``, which returns detectron2's dictionary of results, and the class method
``test(cfg, model, ...)``, as detectron2's DefaultTrainer.
"""


def build_trainer(cfg: CfgNode, *, resume: bool = False):
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
