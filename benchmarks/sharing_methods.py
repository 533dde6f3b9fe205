"""The ways of sharing features that `sharing_features.py` compares: their overlays, and how many images each sees."""

from pathlib import Path
from typing import Dict, List, Optional, Tuple

from detectron2.config import CfgNode

OVERLAYS = Path(__file__).resolve().parents[1] / "configs" / "overlays"
# What the tables call it -> overlay.
METHODS: Dict[str, Optional[str]] = {
    "4-step": None,
    "unshared": "unshared.yaml",
    "3 rounds": "three_rounds.yaml",
    "approximate joint": "joint.yaml",
    "short joint": "joint.yaml",
    "shorter joint": "joint.yaml",
    "non-approximate joint": "joint_nonapproximate.yaml",
}
AFTER_STEP_2 = "after step 2"
# Parts of the images: py-faster-rcnn's joint training sees 2 * 70k of its four steps' 80k + 2 * 40k + 80k + 2 * 40k.
SHORT = {"short joint": 7 / 16, "shorter joint": 7 / 32}


def images_of(cfg: CfgNode, steps: Tuple[int, ...] = (1, 2, 3, 4)) -> int:
    """Training images that these steps of the four see."""
    nodes = [cfg.SCHEDULE[f"STEP{number}"] for number in steps]
    return sum(node.MAX_ITER * node.IMS_PER_BATCH for node in nodes)


def _scaled(cfg: CfgNode, number: int, factor: float) -> List[str]:
    key, node = f"SCHEDULE.STEP{number}", cfg.SCHEDULE[f"STEP{number}"]
    drops = str([round(drop * factor) for drop in node.STEPS])
    return [f"{key}.MAX_ITER", str(round(node.MAX_ITER * factor)), f"{key}.STEPS", drops]


def overrides(cfg: CfgNode, method: str) -> List[str]:
    """KEY VALUE ... that give `method` as many training images as the four steps of `cfg` see."""
    total = images_of(cfg)
    if method == "unshared":
        factor = total / images_of(cfg, (1, 2))
        return _scaled(cfg, 1, factor) + _scaled(cfg, 2, factor)
    if method == "3 rounds":
        return _scaled(cfg, 3, 1 / 3) + _scaled(cfg, 4, 1 / 3)
    if method.endswith("joint"):
        return _scaled(cfg, 1, images_seen(cfg, method) / images_of(cfg, (1,)))
    return []


def images_seen(cfg: CfgNode, method: str) -> int:
    """Training images that a method sees, up to the rounding of iterations."""
    if method == AFTER_STEP_2:
        return images_of(cfg, (1, 2))
    return round(images_of(cfg) * SHORT.get(method, 1))
