"""The plan of a run: for each step what starts from where and what is trained, and what is to be mended before.

``--dry-run`` prints it and stops; a real run prints the same first. ``make_plan.py`` makes it.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List

from tabulate import tabulate

from .defaults import ConfigError
from .manifest import GIVEN, PENDING

__all__ = ["Plan", "refuse_to_start"]


@dataclass
class Plan:
    """What a run will do.

    Attributes:
        steps: one entry a step, in the form of the manifest.
        left_out: names of steps that are neither trained nor given, because no step that is trained starts from them.
        needs: what the run will need of disk and memory, as far as it is known.
        problems: what must be mended before the run can start, one sentence each.
        anew: names of steps that this run has begun and makes anew (``--restart-from``).
        remarks: what a person should know though nothing is wrong.
    """

    steps: List[Dict[str, Any]] = field(default_factory=list)
    left_out: List[str] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)
    anew: List[str] = field(default_factory=list)
    needs: List[str] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = []
        # Of a new run there is nothing to tell.
        resumed = bool(self.anew) or any(entry["state"] != PENDING for entry in self.steps)
        for entry in self.steps:
            start = "\n".join(f"{component}: {source}" for component, source in entry["started_from"].items())
            rates = f"{entry['base_lr']:g}" + "".join(
                f"\n{entry['base_lr'] * entry['gamma'] ** (i + 1):g} from {drop}"
                for i, drop in enumerate(entry["lr_steps"])
            )
            parameters = entry["parameters"]
            proposals = ([f"in: {entry['proposals_in']}"] if entry["proposals_in"] else []) + [
                f"out: {name}" for name in entry["proposals_out"]
            ]
            left_out = entry["name"] in self.left_out
            state = "left out" if left_out else "anew" if entry["name"] in self.anew else entry["state"]
            trained = [
                "\n".join(entry["trained"]) + f"\n({parameters['trained']:,})",
                "\n".join(entry["frozen"] or ["-"]) + f"\n({parameters['frozen']:,})",
                "\n".join(proposals),
                f"{entry['max_iter']} x {entry['ims_per_batch']}",
                rates,
            ]
            rows.append(
                [
                    entry["name"] + (f"\n({state})" if resumed or self.left_out else ""),
                    "-" if left_out else start,
                    *(["-"] * len(trained) if left_out or state == GIVEN else trained),
                ]
            )
        header = [
            "step",
            "starts from",
            "trained\n(parameters)",
            "frozen\n(parameters)",
            "proposals",
            "iterations\nx images",
            "learning rate",
        ]
        lines = ["Plan", tabulate(rows, header, tablefmt="grid", disable_numparse=True)] if rows else []
        lines += self.needs
        lines += [f"note: {remark}" for remark in self.remarks]
        lines += [f"TO MEND: {problem}" for problem in self.problems]
        return "\n".join(lines)


def refuse_to_start(plan: Plan) -> None:
    """Do nothing if the plan is without problems.

    Raises:
        ConfigError: else, with the whole plan.
    """
    if plan.problems:
        raise ConfigError(f"the run cannot start, {len(plan.problems)} to mend at the end of its plan:\n{plan}")
