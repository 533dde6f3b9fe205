"""The short text table at the end of a run: times, sources, recall of the proposals, AP by class, where to look."""

import os
from typing import List

from tabulate import tabulate

from .run import Run, read_run
from .text import average_precision_by_class, duration, percent

__all__ = ["RECALL_COLUMNS", "final_table"]

# What is said about the proposals of an RPN step: heading -> key of `proposal_recall`.
RECALL_COLUMNS = {
    "recall at IoU 0.5": "recall50@300",
    "recall at IoU 0.7": "recall70@300",
    "average recall": "AR@300",
}


def final_table(run_dir: str) -> str:
    """Return the text that sums up a run, finished or not, for a terminal.

    Args:
        run_dir: the run's folder.

    Raises:
        ReportError: it is not a run folder, or one of its files is damaged.
    """
    run = read_run(run_dir)
    heading = f"{run.name}: " + ("finished" if run.finished else "not finished")
    parts = [f"{heading}\n{'=' * len(heading)}", _steps(run)]
    parts += [_recall(run, dataset) for dataset in run.test_datasets if any(dataset in s.recall for s in run.steps)]
    parts += [_average_precision(run, dataset) for dataset in run.box_results]
    parts.append(_places(run))
    return "\n\n".join(parts)


def _steps(run: Run) -> str:
    rows: List[List[str]] = []
    for step in run.steps:
        time = duration(step.seconds) if step.state == "finished" else step.state
        start = "\n".join(f"{component}: {source}" for component, source in step.started_from.items())
        if not step.is_of_the_run:
            rows.append([step.name, time, start if step.state == "given" else "-", "-"])
            continue
        if step.proposals_in:
            start += f"\nproposals: {step.proposals_in}"
        rows.append([step.name, time, start, "\n".join(step.trained)])
    for name in ("evaluation", "total"):
        if name in run.seconds:
            rows.append([name, duration(run.seconds[name]), "", ""])
    return tabulate(rows, ["step", "time", "started from", "trained"], tablefmt="simple", disable_numparse=True)


def _recall(run: Run, dataset: str) -> str:
    rows = [
        [step.name, *(percent(step.recall[dataset].get(key)) for key in RECALL_COLUMNS.values())]
        for step in run.steps
        if dataset in step.recall
    ]
    table = tabulate(
        rows,
        ["proposals of", *RECALL_COLUMNS],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )
    return f"The 300 best proposals of each image of {dataset}, % of the objects\n\n{table}"


def _average_precision(run: Run, dataset: str) -> str:
    results = run.box_results[dataset]
    rows = [[name, percent(value)] for name, value in average_precision_by_class(results)]
    rows.append(["mean", percent(results.get("AP50"))])
    table = tabulate(rows, ["class", "AP50"], tablefmt="simple", disable_numparse=True, colalign=("left", "right"))
    return f"Detections of the final network on {dataset}, %\n\n{table}"


def _places(run: Run) -> str:
    page = os.path.join(run.path, "report", "index.html")
    if os.path.isfile(page):
        rows = [("report", page)]
    else:
        rows = [("report", f"not written yet: python -m frcnn_alt.report {run.path}")]
    pictures = os.path.join(run.path, "report", "pictures")
    if os.path.isdir(pictures):  # those of an unfinished run are not drawn yet
        rows.append(("pictures", pictures))
    if os.path.isdir(os.path.join(run.path, "tensorboard")):
        rows.append(("curves", f"tensorboard --logdir {os.path.join(run.path, 'tensorboard')}"))
    weights = os.path.join(run.path, "model_final.pth")
    if os.path.isfile(weights):
        rows.append(("network", f"{weights} with {os.path.join(run.path, 'config.yaml')}"))
    return "\n".join(f"{name + ':':<10}{place}" for name, place in rows)
