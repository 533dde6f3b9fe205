"""Sweeps: tables of the paper from one command, with what their rows share done once."""

from .executors import ClusterExecutor, LocalExecutor
from .plan import SweepPlan, plan_sweep
from .read_table import choose_rows, read_table
from .run import run_sweep
from .table import Table
from .write import write_tables

__all__ = [
    "ClusterExecutor",
    "LocalExecutor",
    "SweepPlan",
    "Table",
    "choose_rows",
    "plan_sweep",
    "read_table",
    "run_sweep",
    "write_tables",
]
