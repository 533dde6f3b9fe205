"""The paper's ablations of the region proposal network at test time (paper 4.1, Table 2; SPEC 8.1), as config keys.

Each takes one part of the way from anchors to proposals out of a trained network: the suppression, the ranking by the
"cls" layer, the regression by the "reg" layer. Nothing is trained differently for it.
"""

from dataclasses import dataclass
from typing import List

from detectron2.config import CfgNode

__all__ = ["ProposalSwitches"]

# Field -> its key below MODEL.RPN.
_KEYS = {
    "nms": "NMS_TEST",
    "ranking": "RANKING_TEST",
    "regression": "REGRESSION_TEST",
    "random_draw_seed": "RANDOM_DRAW_SEED",
}


@dataclass(frozen=True)
class ProposalSwitches:
    """What a region proposal network does at test time; by default all of it.

    Attributes:
        nms: False ("no NMS") suppresses no box (``MODEL.RPN.NMS_TEST``).
        ranking: False ("no cls") draws proposals at random in place of the best ones (``MODEL.RPN.RANKING_TEST``).
        regression: False ("no reg") takes the anchors for the boxes (``MODEL.RPN.REGRESSION_TEST``).
        random_draw_seed: which draw, 0 or more (``MODEL.RPN.RANDOM_DRAW_SEED``); without effect unless `ranking` is
            False.

    Raises:
        ValueError: a negative seed.
    """

    nms: bool = True
    ranking: bool = True
    regression: bool = True
    random_draw_seed: int = 0

    def __post_init__(self):
        if self.random_draw_seed < 0:
            raise ValueError(f"MODEL.RPN.RANDOM_DRAW_SEED is {self.random_draw_seed}: it must be 0 or more.")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ProposalSwitches":
        """Read them off `cfg`, any config with this package's keys."""
        return cls(**{field: cfg.MODEL.RPN[key] for field, key in _KEYS.items()})

    def write_to(self, cfg: CfgNode) -> None:
        """Set the keys of `cfg`, in place, to these."""
        for field, key in _KEYS.items():
            cfg.MODEL.RPN[key] = getattr(self, field)

    def switched_off(self) -> List[str]:
        """The keys of what is taken out, such as "MODEL.RPN.NMS_TEST"."""
        return [f"MODEL.RPN.{_KEYS[name]}" for name in ("nms", "ranking", "regression") if not getattr(self, name)]
