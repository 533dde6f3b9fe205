"""A Schedule: a list of steps, and which step each component of the final network comes from (paper section 3.2).

A schedule is a function ``cfg -> Schedule`` in ``SCHEDULE_REGISTRY``, chosen by ``SCHEDULE.NAME``; ``schedules.py`` has
the paper's, other projects register their own.
"""

from dataclasses import dataclass
from typing import Dict, List, Tuple, Union

from detectron2.config import CfgNode
from fvcore.common.registry import Registry

from .network import JOINT, NETWORKS, RPN
from .step import Step

__all__ = ["SCHEDULE_REGISTRY", "Schedule", "WholeNetwork", "build_schedule", "steps_of"]

SCHEDULE_REGISTRY = Registry("SCHEDULE")
SCHEDULE_REGISTRY.__doc__ = """
Registry of training schedules. The registered function is called with `cfg` and returns a :class:`Schedule`.
"""


class WholeNetwork(str):
    """The name of a step whose whole network becomes one component of the final one, not only its like-named part."""


@dataclass(frozen=True)
class Schedule:
    """Steps in the order they run, and where the final network's components come from.

    Attributes:
        steps: the steps; each may start only from steps before it.
        assembly: component of the final network -> name of the step that gives it, as it is called there or, for a
            ``WholeNetwork``, all that the step has.
        network: what the final network is, one of ``NETWORKS``.
    """

    steps: Tuple[Step, ...]
    assembly: Dict[str, Union[str, WholeNetwork]]
    network: str = JOINT

    def __post_init__(self):
        earlier: List[str] = []
        for step in self.steps:
            missing = [name for name in step.needs if name not in earlier]
            if missing:
                raise ValueError(
                    f"{step.name} starts from {', '.join(missing)}, which no step before it is called: they are "
                    f"{', '.join(earlier) or 'none'}."
                )
            if step.proposals_from in earlier and not self[step.proposals_from].makes_proposals:
                raise ValueError(
                    f"{step.name} has proposals_from {step.proposals_from!r}, but that step makes none: name a step of "
                    f"kind {RPN!r}, or FILES."
                )
            if step.name in earlier:
                raise ValueError(f"Two steps are called {step.name}.")
            earlier.append(step.name)
        self._check_assembly(earlier)

    def _check_assembly(self, steps: List[str]) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; it is one of {', '.join(NETWORKS)}.")
        unknown = [name for name in self.assembly.values() if name not in steps]
        if unknown:
            raise ValueError(
                f"assembly names {', '.join(unknown)}, which no step is called: they are {', '.join(steps)}."
            )
        components = NETWORKS[self.network]
        missing = [component for component in components if component not in self.assembly]
        if missing:
            raise ValueError(
                f"assembly has no {' and no '.join(missing)}, of which the final network ({self.network!r}) consists."
            )
        for component, name in self.assembly.items():
            if component not in components:
                raise ValueError(
                    f"assembly has {component}, but the final network ({self.network!r}) consists of "
                    f"{', '.join(components)}."
                )
            if not isinstance(name, WholeNetwork) and component not in self[name].components:
                raise ValueError(
                    f"assembly takes {component} from {name}, whose network has {', '.join(self[name].components)} "
                    "only."
                )

    def is_trained_on(self, name: str) -> bool:
        """Whether any step trains on the proposals of the step called `name`."""
        return any(step.proposals_from == name for step in self.steps)

    def __getitem__(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


def build_schedule(cfg: CfgNode) -> Schedule:
    """Build the schedule that ``SCHEDULE.NAME`` names.

    Raises:
        KeyError: no schedule of that name is registered.
        ValueError: its steps cannot be run one after another.
    """
    return SCHEDULE_REGISTRY.get(cfg.SCHEDULE.NAME)(cfg)


def steps_of(cfg: CfgNode) -> Tuple[Step, ...]:
    """The steps of the schedule of `cfg`; none where it cannot be built, which the plan says once for all checks."""
    try:
        return build_schedule(cfg).steps
    except Exception:  # whatever somebody's own schedule objects to
        return ()
