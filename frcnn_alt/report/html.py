"""The report of a run: one HTML file that holds its plots and pictures, for a person to look at."""

import os
from typing import List, Tuple

from .elements import picture_group, plan_table, plots, recall_table, table, tiles
from .files import new_folder, write_text
from .page import PAGE
from .pictures import SCORE_THRESHOLD, save_pictures
from .plots import loss_limit, plot_class_bars, plot_losses, plot_recall_by_iou, plot_recall_by_number
from .provenance import provenance_rows
from .recall_in_training import plot_recall_over_iterations, recall_over_iterations
from .run import Run, read_run
from .text import average_precision_by_class, duration, escape, percent

__all__ = ["write_report"]

_SCHEDULES = {
    "four_step": "Faster R-CNN, trained in the paper's alternating steps",
    "unshared": "Faster R-CNN of two networks that share nothing",
    "rpn": "A region proposal network alone",
    "fast_rcnn": "Fast R-CNN alone, on stored proposals",
    "one_stage": "Fast R-CNN on dense sliding windows, in one stage",
    "joint": "Faster R-CNN, trained jointly",
}


def write_report(run_dir: str) -> str:
    """Write ``report/index.html`` of a run folder, and its pictures once more as ``report/pictures/*.jpg``.

    The page is self-contained and needs none of these files. An unfinished run gets a page with what there is.

    Args:
        run_dir: the run's folder.

    Returns:
        str: path of the page.

    Raises:
        ReportError: it is not a run folder, or one of its files is damaged.
    """
    run = read_run(run_dir)
    folder = os.path.join(run_dir, "report")
    sections = [
        ("The plan", plan_table(run.steps)),
        ("Losses", _losses(run)),
        ("Recall of the proposals", _recall(run)),
        ("Average precision by class", _average_precision(run)),
        ("Pictures", _pictures(run, folder)),
        ("Provenance", table([], [[escape(name), value] for name, value in provenance_rows(run)])),
    ]
    page = PAGE.substitute(
        title=escape(run.name),
        introduction=_introduction(run),
        sections="\n".join(f"<section>\n<h2>{name}</h2>\n{html}\n</section>" for name, html in sections if html),
    )
    path = os.path.join(folder, "index.html")
    write_text(path, page)
    return path


def _introduction(run: Run) -> str:
    schedule = run.manifest.get("schedule", "")
    parts = [f'<p class="soft">{escape(_SCHEDULES.get(schedule, f"Schedule {schedule}"))}</p>']
    if not run.finished:
        states = ", ".join(f"{step.name} is {step.state}" for step in run.steps)
        parts.append(f'<p class="warn">This run is not finished: {escape(states)}.</p>')
    return "\n".join([*parts, tiles(_headline(run))])


def _headline(run: Run) -> List[Tuple[str, str, str]]:
    numbers = []
    for dataset, results in run.box_results.items():
        numbers.append(("AP50", percent(results.get("AP50")), f"% on {dataset}"))
        if "AP" in results:
            numbers.append(("AP", percent(results["AP"]), "%, mean over IoU 0.5 to 0.95"))
    for dataset in run.test_datasets[:1]:
        recalls = [percent(s.recall[dataset].get("recall50@300")) for s in run.steps if dataset in s.recall]
        if recalls:
            after = " and ".join(f"step {step.number}" for step in run.steps if dataset in step.recall)
            numbers.append(("Recall", " → ".join(recalls), f"% at IoU 0.5, 300 proposals, after {after}"))
    if run.seconds:
        training = sum(step.seconds or 0 for step in run.steps)
        numbers.append(("Time", duration(run.seconds.get("total", training)), f"of it training {duration(training)}"))
    return numbers


def _losses(run: Run) -> str:
    drawn = [step for step in run.steps if "total_loss" in step.scalars]
    if not drawn:
        return ""
    limits = {kind: loss_limit([step for step in drawn if step.kind == kind]) for kind in {s.kind for s in drawn}}
    items = [
        (f"Loss of {step.title}", lambda theme, step=step: plot_losses(step, theme, limits[step.kind]))
        for step in drawn
    ]
    note = (
        "Each point is the median of the last 20 iterations. Steps of the same kind share their axis; dotted lines "
        "mark where the learning rate drops."
    )
    return f'<p class="soft">{note}</p>\n{plots(items)}'


def _recall(run: Run) -> str:
    parts = []
    for dataset in run.test_datasets:
        recalls = {f"step {s.number}": s.recall[dataset] for s in run.steps if dataset in s.recall}
        during = [(f"step {s.number}", s) for s in run.steps if recall_over_iterations(s, dataset)]
        drawn = []
        if recalls:
            drawn += [
                ("Recall over the number of proposals", lambda theme, r=recalls: plot_recall_by_number(r, theme)),
                ("Recall over the IoU threshold", lambda theme, r=recalls: plot_recall_by_iou(r, theme)),
            ]
        if during:
            what = "Recall while the steps were trained"
            drawn.append((what, lambda theme, d=during, n=dataset: plot_recall_over_iterations(d, n, theme)))
        if drawn:
            note = f"Share of the objects of {escape(dataset)} that are covered; difficult ones are not counted."
            parts += [f'<p class="soft">{note}</p>', plots(drawn)]
            parts += [recall_table(recalls)] if recalls else []
    return "\n".join(parts)


def _average_precision(run: Run) -> str:
    parts = []
    for dataset, results in run.box_results.items():
        values = average_precision_by_class(results)
        if values:
            chart = ("AP50 by class", lambda theme, v=values, r=results: plot_class_bars(v, r["AP50"], theme))
            rows = [[escape(name), percent(value)] for name, value in values]
            rows.append(["<strong>mean</strong>", f"<strong>{percent(results['AP50'])}</strong>"])
            parts.append(
                f'<p class="soft">Final network on {escape(dataset)}, IoU 0.5.</p>\n<div class="plots">\n'
                f"{plots([chart], bare=True)}\n{table(['class', 'AP50, %'], rows, numbers=True)}\n</div>"
            )
    return "\n".join(parts)


def _pictures(run: Run, folder: str) -> str:
    parts = []
    if not run.detections:
        return ""
    with new_folder(os.path.join(folder, "pictures")) as partial:
        for dataset, detections in run.detections.items():
            subfolder = dataset if len(run.detections) > 1 else ""
            best, worst, problems = save_pictures(detections, os.path.join(partial, subfolder))
            note = (
                f"Images of {escape(dataset)}: ground truth left (above on a small screen), detections with a score of "
                f"at least {SCORE_THRESHOLD:g} right. F is the F-measure of an image's detections at IoU 0.5. "
                "Dashed objects are difficult and do not count. A click enlarges a pair; each is also a file in "
                "report/pictures of the run's folder."
            )
            parts.append(f'<p class="soft">{note}</p>')
            parts += [f'<p class="warn">{escape(problem)}</p>' for problem in problems]
            place = os.path.join("pictures", subfolder).rstrip(os.sep)
            parts += [picture_group("Best", best, place), picture_group("Worst", worst, place)]
    return "\n".join(part for part in parts if part)
