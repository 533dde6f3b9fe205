"""What tells beforehand whether two trainings have a step in common: a key of all that decides a step's result.

The manifest's hash of a step is made of files, and so is known only when the steps before it are finished. This one is
made of the configs of those steps instead.
"""

import json
from typing import Dict

from detectron2.config import CfgNode

from .manifest import config_hash
from .schedule import Schedule
from .step import FILES, WEIGHTS, configure_step, recomputes_flipped_images

__all__ = ["step_keys"]


def step_keys(cfg: CfgNode, schedule: Schedule) -> Dict[str, str]:
    """Return step name -> key; two steps of equal key, in whichever runs, end with the same weights.

    Initial weights, stored proposals and mean images count by their paths, since they need not be there yet.

    Args:
        cfg: a run's config with a SEED of its own (not -1, which draws one).
        schedule: its schedule.

    Raises:
        ValueError: SEED is negative.
    """
    if cfg.SEED < 0:
        raise ValueError("SEED is negative: every run draws its own, and no two steps are equal.")
    keys: Dict[str, str] = {}
    for index, step in enumerate(schedule.steps):
        # Its own seed follows from SEED, which its config has, and from its place.
        inputs = {"place": str(index), "init": json.dumps(step.init, sort_keys=True)}
        inputs["mean image"] = cfg.MODEL.PIXEL_MEAN_IMAGE
        inputs["flipped"] = str(recomputes_flipped_images(cfg))
        if WEIGHTS in step.init.values():
            inputs[WEIGHTS] = cfg.MODEL.WEIGHTS
        if step.proposals_from == FILES:
            inputs[FILES] = json.dumps(cfg.DATASETS.PROPOSAL_FILES_TRAIN)
        inputs.update({name: keys[name] for name in step.needs})
        keys[step.name] = config_hash(configure_step(cfg, step, ""), inputs)
    return keys
