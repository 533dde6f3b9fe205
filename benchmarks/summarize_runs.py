#!/usr/bin/env python
"""Sum up finished runs as Markdown: what was measured, on which machine, with which versions and commands.

python benchmarks/summarize_runs.py --title "Demo, two seeds" output/seed_0 output/seed_1 > benchmarks/results/demo.md

Runs given together are variants of one another (seeds, mostly): their mean and spread stand below the table.
"""

import argparse
import math
import os
import shlex
import statistics
import sys
from typing import List

from frcnn_alt.report import Run, read_run
from frcnn_alt.report.text import percent

from tabulate import tabulate

_RECALLS = ("recall50@300", "recall70@300")


def _row(run: Run, classes: List[str]) -> List[str]:
    box = next(iter(run.box_results.values()))
    recalls = []
    for step in run.steps:
        if step.kind == "rpn":
            recall = next(iter(step.recall.values()), None)
            recalls.append("-" if recall is None else " / ".join(percent(recall.get(key)) for key in _RECALLS))
    times = [f"{run.seconds[step.name]:.0f}" if step.name in run.seconds else step.state for step in run.steps]
    aps = [percent(box.get(name)) for name in ["AP50", "AP", *classes]]
    return [run.name, str(run.manifest["seed"]), *aps, *recalls, " + ".join(times), f"{run.seconds['total']:.0f}"]


def _commands(runs: List[Run]) -> List[str]:
    """In the order in which they are to be given; runs that start from the same weights share a pre-training."""
    commands = [run.manifest.get(key) for run in runs for key in ("weights_command", "command")]
    return list(dict.fromkeys(shlex.join(command) for command in commands if command))


def summarize(runs: List[Run], title: str) -> str:
    """Return the Markdown text; all numbers are read from the runs' files.

    Args:
        runs: finished, evaluated on one data set with the same classes.
        title: the heading.
    """
    first = runs[0]
    box = next(iter(first.box_results.values()))
    classes = [name for name in box if name.startswith("AP50-")]
    rpn_steps = [f"step {step.number}: recall at IoU 0.5 / 0.7" for step in first.steps if step.kind == "rpn"]
    header = ["run", "seed", "AP50", "AP", *(name[5:] for name in classes), *rpn_steps, "seconds by step", "seconds"]
    table = tabulate([_row(run, classes) for run in runs], header, tablefmt="github", disable_numparse=True)
    lines = [f"# {title}", "", table, ""]
    values = [next(iter(run.box_results.values()))["AP50"] for run in runs]
    if len(runs) > 1 and not any(map(math.isnan, values)):
        spread = f"{statistics.mean(values):.1f}, standard deviation {statistics.stdev(values):.1f}"
        lines += [f"AP50 over {len(runs)} runs: mean {spread}, lowest {min(values):.1f}.", ""]
    machine = first.manifest["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in first.manifest["versions"].items())
    lines += [
        f"Percent, on {', '.join(first.box_results)}; recall of 300 proposals an image; seconds without pre-training.",
        "",
        f"- machine: {machine['cpu_cores']} CPU cores, GPU: {machine['gpu'] or 'none'}, {machine['platform']}",
        f"- versions: {versions}",
        "- commands:",
        *(f"  - `python {command}`" for command in _commands(runs)),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", required=True)
    parser.add_argument("run", nargs="+", help="folder of a finished run")
    args = parser.parse_args()
    runs = [read_run(path) for path in args.run]
    unfinished = [run.path for run in runs if not run.finished or not run.box_results]
    if unfinished:
        print(f"error: not finished and evaluated: {', '.join(map(os.path.normpath, unfinished))}", file=sys.stderr)
        return 2
    print(summarize(runs, args.title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
