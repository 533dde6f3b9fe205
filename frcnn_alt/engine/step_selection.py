"""Which steps of a schedule a run trains (``--steps``), and what stands in for those it does not.

A step that is not trained is taken from this run's own folder if it is finished there, else from what is given for it
(``given.py``); one that no trained step starts from may be left out altogether.
"""

import re
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from detectron2.config import CfgNode

from .defaults import ConfigError
from .given import Given, find_given
from .manifest import FINISHED, Manifest
from .schedule import Schedule
from .step import WEIGHTS

__all__ = ["Selection", "select_steps"]

_KEY = "SCHEDULE.RUN_ONLY (--steps)"


@dataclass(frozen=True)
class Selection:
    """What becomes of each step of a schedule.

    Attributes:
        trained: names of the steps that this run trains, or has trained.
        given: name -> what stands in for the step.
        left_out: names of the others.
        problems: what keeps the trained ones from starting, one sentence each.
    """

    trained: Tuple[str, ...]
    given: Dict[str, Given] = field(default_factory=dict)
    left_out: Tuple[str, ...] = ()
    problems: Tuple[str, ...] = ()

    def starts_from_weights(self, schedule: Schedule) -> bool:
        """Whether any trained step starts from the file MODEL.WEIGHTS."""
        return any(WEIGHTS in schedule[name].init.values() for name in self.trained)

    def proposals_needed(self, schedule: Schedule, name: str) -> bool:
        """Whether any trained step trains on the proposals of the step called `name`."""
        return any(schedule[trained].proposals_from == name for trained in self.trained)


def _asked_for(cfg: CfgNode, names: Tuple[str, ...]) -> Tuple[str, ...]:
    text = str(cfg.SCHEDULE.RUN_ONLY).replace(" ", "")
    if not text:
        return names
    match = re.fullmatch(r"(\d*)(-?)(\d*)", text)
    if match is None or text == "-":
        raise ConfigError(f"{_KEY} is {text!r}: it takes a step or a range of steps, such as 2, 3-4 or 3-.")
    first = int(match[1] or 1)
    last = int(match[3]) if match[3] else (len(names) if match[2] else first)
    if not 1 <= first <= last <= len(names):
        raise ConfigError(f"{_KEY} is {text!r}, but schedule {cfg.SCHEDULE.NAME} has steps 1 to {len(names)}.")
    return names[first - 1 : last]


def select_steps(cfg: CfgNode, schedule: Schedule, manifest: Optional[Manifest] = None) -> Selection:
    """Find out what becomes of each step; what is wrong is among the result's `problems`.

    Args:
        cfg: reads SCHEDULE.RUN_ONLY ("3", "3-4", "2-", "-2"; empty is all), STEPn.GIVEN and GIVEN_RUN.
        schedule: its schedule.
        manifest: of the run in OUTPUT_DIR that is gone on with, if there is one.
    """
    names = tuple(step.name for step in schedule.steps)
    try:
        asked_for = _asked_for(cfg, names)
        trained = tuple(name for name in names if name in asked_for or _is_finished(manifest, name))
        needed = {name for one in trained for name in schedule[one].needs} | set(schedule.assembly.values())
        given = {}
        for number, step in enumerate(schedule.steps, start=1):
            if step.name in needed and step.name not in trained:
                found = find_given(cfg, step, number)
                if found is not None:
                    given[step.name] = found
    except ConfigError as error:
        return Selection((), problems=(str(error),))
    left_out = tuple(name for name in names if name not in trained and name not in given)
    problems = _problems(cfg, schedule, asked_for, left_out)
    return Selection(trained, given, left_out, tuple(problems))


def _problems(cfg: CfgNode, schedule: Schedule, asked_for: Tuple[str, ...], left_out: Tuple[str, ...]) -> List[str]:
    problems = []
    for number, step in enumerate(schedule.steps, start=1):
        node = f"SCHEDULE.STEP{number}"
        starting = [name for name in asked_for if step.name in schedule[name].needs]
        if step.name in left_out and starting:
            problems.append(
                f"{_KEY} leaves out {step.name}, which {' and '.join(starting)} start from: name its weight file in "
                f"{node}.GIVEN, or a run that has finished it in SCHEDULE.GIVEN_RUN (--from-run), or go on with such a "
                "run by --resume."
            )
        if step.name in asked_for and cfg.SCHEDULE.get(f"STEP{number}", {}).get("GIVEN"):
            problems.append(
                f"{node}.GIVEN stands in for {step.name}, which is to be trained: set --steps to others, or it to ''."
            )
    return problems


def _is_finished(manifest: Optional[Manifest], name: str) -> bool:
    return manifest is not None and manifest.step(name)["state"] == FINISHED
