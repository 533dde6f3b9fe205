"""What a sweep leaves to read: for each table text, Markdown and CSV, and one page for all of them."""

import json
import os
import shlex
import sys
from typing import Dict, List, Mapping

from ..engine.machine import describe_machine, describe_versions
from ..engine.manifest import write_json
from ..report.files import write_text
from ..safe_write import make_folder
from .page import TableResult, sweep_page
from .plan import SweepPlan
from .recall_plots import recall_plots
from .render import as_csv, as_markdown, as_text
from .results import compare, read_results

__all__ = ["note_provenance", "write_tables"]

_PROVENANCE = "provenance.json"


def _provenance(plan: SweepPlan) -> Dict[str, str]:
    machine = describe_machine()
    gpu = machine["gpu"] or "none"
    return {
        "machine": f"{machine['cpu_cores']} cores of {machine['cpu']}, GPU: {gpu}, {machine['platform']}",
        "versions": ", ".join(f"{name} {version}" for name, version in describe_versions().items()),
        "seeds": ", ".join(map(str, plan.seeds)),
        "command": f"python {shlex.join(sys.argv)}",
    }


def note_provenance(plan: SweepPlan) -> None:
    """Note in the sweep's folder on what, and by which command, it is run; the tables tell so."""
    make_folder(plan.folder)
    write_json(_provenance(plan), os.path.join(plan.folder, _PROVENANCE))


def _noted(plan: SweepPlan) -> Dict[str, str]:
    try:
        with open(os.path.join(plan.folder, _PROVENANCE)) as file:
            return json.load(file)
    except (OSError, ValueError):  # nothing has been run yet
        return _provenance(plan)


def write_tables(plan: SweepPlan, states: Mapping[str, str]) -> str:
    """Write <table>.txt, .md and .csv of each table and index.html into the sweep's folder.

    Args:
        plan: the sweep.
        states: what ``run_sweep`` returned; what has no state is looked up among the marks.

    Returns:
        str: the tables as text, and where the page is.
    """
    done = [name for name in plan.tasks if plan.marks.is_done(name)]
    provenance = _noted(plan)
    results: List[TableResult] = []
    texts: List[str] = []
    for table in plan.tables:
        measured = read_results(table, plan.measurements[table.name], done)
        comparisons = compare(table, measured)
        text = as_text(table, measured, comparisons)
        about = "\n".join(
            f"- {name}: `{value}`" if name == "command" else f"- {name}: {value}" for name, value in provenance.items()
        )
        files = {
            "txt": f"{text}\n",
            "md": as_markdown(table, measured, comparisons, about),
            "csv": as_csv(table, measured, plan.seeds),
        }
        for suffix, content in files.items():
            write_text(os.path.join(plan.folder, f"{table.name}.{suffix}"), content)
        curves = recall_plots(table, plan.measurements[table.name], measured, done, plan.folder)
        results.append(TableResult(table, measured, comparisons, curves))
        texts.append(text)
    failed = {
        name: os.path.join("logs", f"{name}.log") if state == "failed" else state
        for name, state in states.items()
        if state in ("failed", "skipped")
    }
    page = os.path.join(plan.folder, "index.html")
    write_text(page, sweep_page(plan, results, failed, provenance))
    return "\n\n".join([*texts, f"page: {page}"])
