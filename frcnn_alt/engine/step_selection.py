"""Which steps of a schedule a run trains (``--steps``), and what stands in for those it does not.

A step that is not trained is taken from this run's own folder if it is finished there, else from what is given for it
(``given.py``); one that no trained step starts from may be left out altogether.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Set, Tuple

from detectron2.config import CfgNode

from ..checkpointing import CheckpointError
from .defaults import ConfigError
from .given import Given, find_given
from .manifest import FINISHED, PENDING, RUNNING, Manifest
from .schedule import Schedule
from .step import WEIGHTS

__all__ = ["Selection", "select_steps"]

_KEY = "SCHEDULE.RUN_ONLY (--steps)"
# Trains nothing: all steps are given, and are put together to the schedule's network.
NO_STEPS = "none"


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


def _state(manifest: Optional[Manifest], name: str) -> str:
    return PENDING if manifest is None else manifest.step(name)["state"]


def _asked_for(cfg: CfgNode, schedule: Schedule, manifest: Optional[Manifest]) -> Tuple[str, ...]:
    names = tuple(step.name for step in schedule.steps)
    text = str(cfg.SCHEDULE.RUN_ONLY).replace(" ", "")
    if not text:
        return _all_but_given(cfg, schedule, manifest)
    if text == NO_STEPS:
        return ()
    match = re.fullmatch(r"(\d*)(-?)(\d*)", text)
    if match is None or text == "-":
        raise ConfigError(
            f"{_KEY} is {text!r}: it takes a step or a range of steps, such as 2, 3-4 or 3-, or {NO_STEPS}."
        )
    first = int(match[1] or 1)
    last = int(match[3]) if match[3] else (len(names) if match[2] else first)
    if not 1 <= first <= last <= len(names):
        raise ConfigError(f"{_KEY} is {text!r}, but schedule {cfg.SCHEDULE.NAME} has steps 1 to {len(names)}.")
    return names[first - 1 : last]


def _all_but_given(cfg: CfgNode, schedule: Schedule, manifest: Optional[Manifest]) -> Tuple[str, ...]:
    """All steps; where some were given to the run that is gone on with, all that the final network comes from."""
    names = tuple(step.name for step in schedule.steps)
    given = {name for name in names if manifest is not None and manifest.step(name).get("given")}
    if not given:
        return names
    sources = _with_needs(schedule, schedule.assembly.values(), without=given)
    return tuple(name for name in names if name in sources - given)


def _with_needs(schedule: Schedule, names: Iterable[str], without: Iterable[str] = ()) -> Set[str]:
    """`names` and all that they start from, and so on; what those `without` start from is left out."""
    found: Set[str] = set()
    to_visit = [str(name) for name in names]
    while to_visit:
        name = to_visit.pop()
        if name not in found:
            found.add(name)
            to_visit += [] if name in without else schedule[name].needs
    return found


def select_steps(cfg: CfgNode, schedule: Schedule, manifest: Optional[Manifest] = None) -> Selection:
    """Find out what becomes of each step; what is wrong is among the result's `problems`.

    Args:
        cfg: reads SCHEDULE.RUN_ONLY ("3", "3-4", "2-", "-2", "none"; empty is all), STEPn.GIVEN and GIVEN_RUN.
        schedule: its schedule.
        manifest: of the run in OUTPUT_DIR that is gone on with, if there is one.
    """
    if cfg.SCHEDULE.GIVEN_RUN and os.path.realpath(cfg.SCHEDULE.GIVEN_RUN) == os.path.realpath(cfg.OUTPUT_DIR):
        return Selection(
            (),
            problems=(
                f"SCHEDULE.GIVEN_RUN (--from-run) is OUTPUT_DIR, {cfg.OUTPUT_DIR}: --resume goes on with a run in its "
                "own folder; or choose another OUTPUT_DIR.",
            ),
        )
    names = tuple(step.name for step in schedule.steps)
    try:
        asked_for = _asked_for(cfg, schedule, manifest)
        trained = tuple(name for name in names if name in asked_for or _state(manifest, name) == FINISHED)
        given, foreign = _find_all_given(cfg, schedule, trained, manifest)
    except (CheckpointError, ConfigError) as error:
        return Selection((), problems=(str(error),))
    left_out = tuple(name for name in names if name not in trained and name not in given)
    problems = _problems(cfg, schedule, asked_for, trained, left_out, foreign, manifest)
    lacking = sorted(set(schedule.assembly.values()) & set(left_out))
    if not problems and not trained and lacking:
        problems.append(
            f"{_KEY} trains no step, and nothing is given for {' and '.join(lacking)}: name the run that has finished "
            "it in SCHEDULE.GIVEN_RUN (--from-run), or weight files in SCHEDULE.STEPn.GIVEN."
        )
    if not problems and cfg.SCHEDULE.GIVEN_RUN and not any(found.run is not None for found in given.values()):
        problems.append(
            f"SCHEDULE.GIVEN_RUN (--from-run) {cfg.SCHEDULE.GIVEN_RUN} stands in for no step: name the steps that are "
            "to be trained in --steps, or leave it out."
        )
    return Selection(trained, given, left_out, tuple(problems))


def _find_all_given(
    cfg: CfgNode, schedule: Schedule, trained: Tuple[str, ...], manifest: Optional[Manifest]
) -> Tuple[Dict[str, Given], Dict[str, str]]:
    """What stands in for the steps that are not trained, and why that of another run does not (step -> reason)."""
    needed = {name for one in trained for name in schedule[one].needs} | set(schedule.assembly.values())
    given: Dict[str, Given] = {}
    foreign: Dict[str, str] = {}
    for number, step in enumerate(schedule.steps, start=1):
        if step.name in needed and step.name not in trained:
            found = find_given(cfg, step, number, manifest)
            others = [] if found is None else _started_from_others(schedule, step.name, found, trained, given)
            if others:
                foreign[step.name] = f"that of {os.path.dirname(found.run.path)} started from another {others[0]}"
            elif found is not None:
                given[step.name] = found
    return given, foreign


def _started_from_others(
    schedule: Schedule, name: str, found: Given, trained: Tuple[str, ...], given: Dict[str, Given]
) -> List[str]:
    """The steps here that `found`, of another run, did not start from: it started from those of that run.

    A file that is given by itself goes together with what whoever gave it says.
    """
    if found.run is None:
        return []
    needs = sorted(_with_needs(schedule, schedule[name].needs))
    known = {
        entry["name"]: entry.get("outputs", {}).get("model", {}).get("sha256") for entry in found.run.data["steps"]
    }
    return [one for one in needs if one in trained or (one in given and given[one].sha256 != known.get(one))]


def _problems(
    cfg: CfgNode,
    schedule: Schedule,
    asked_for: Tuple[str, ...],
    trained: Tuple[str, ...],
    left_out: Tuple[str, ...],
    foreign: Dict[str, str],
    manifest: Optional[Manifest],
) -> List[str]:
    problems = []
    for number, step in enumerate(schedule.steps, start=1):
        node, state = f"STEP{number}", _state(manifest, step.name)
        starting = [name for name in trained if step.name in schedule[name].needs]
        if step.name in left_out and starting:
            problems.append(
                f"{_KEY} leaves out {step.name}, which {_start_from(starting)}: "
                f"{_how_to_have(cfg, node, foreign.get(step.name), manifest)}."
            )
        if cfg.SCHEDULE.get(node, {}).get("GIVEN") and (step.name in asked_for or state == FINISHED):
            what = (
                "is to be trained: set --steps to others, or the key to ''"
                if step.name in asked_for
                else "this run has trained: set the key to ''"
            )
            problems.append(f"SCHEDULE.{node}.GIVEN stands in for {step.name}, which {what}.")
        if step.name in asked_for and state != FINISHED:
            problems += _stale_problems(schedule, step.name, manifest)
    return problems


def _start_from(steps: List[str]) -> str:
    return f"{' and '.join(steps)} start{'s' if len(steps) == 1 else ''} from"


def _how_to_have(cfg: CfgNode, node: str, foreign: Optional[str], manifest: Optional[Manifest]) -> str:
    ways = [f"name its weight file in SCHEDULE.{node}.GIVEN"] if node in cfg.SCHEDULE else []
    if foreign:
        ways.append(f"have it trained too, for {foreign}")
    else:
        ways.append("name a run that has finished it in SCHEDULE.GIVEN_RUN (--from-run)")
        ways.append("have it trained too" if manifest is not None else "go on with such a run by --resume")
    return ", or ".join(ways)


def _stale_problems(schedule: Schedule, name: str, manifest: Optional[Manifest]) -> List[str]:
    """What is there already and would not go together with the step called `name` once that is trained."""
    begun = [
        step.name
        for step in schedule.steps
        if name in step.needs and _state(manifest, step.name) in (RUNNING, FINISHED)
    ]
    if not begun or _state(manifest, name) == RUNNING:
        return []
    return [
        f"{name} is to be trained, but {' and '.join(begun)} in this folder started from another one, which was given: "
        f"leave it out of --steps, choose another OUTPUT_DIR, or make these anew too: --restart-from {name}."
    ]
