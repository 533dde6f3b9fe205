#!/usr/bin/env python
"""Fill tables of the paper: train what their rows need, each thing once, measure, and lay the paper's numbers beside.

python tools/sweep.py configs/tables/table2.yaml --dry-run            # rows, what they share, the cost in iterations
python tools/sweep.py configs/tables/table2.yaml --seeds 0 1 2
python tools/sweep.py configs/tables/table2.yaml configs/tables/figure4.yaml --base zf=my_config.yaml [KEY VALUE ...]

The same command again goes on where it was stopped, and tries again what failed. Results: <output>/index.html, and for
each table .txt, .md and .csv.
"""

import argparse
import itertools
import os
import sys
from typing import Callable, Dict, List, Optional, Tuple

from frcnn_alt.engine import ConfigError
from frcnn_alt.engine.failures import guarded
from frcnn_alt.engine.stopping import status_of
from frcnn_alt.sweep import (
    ClusterExecutor,
    LocalExecutor,
    choose_rows,
    plan_sweep,
    read_table,
    run_sweep,
    write_tables,
)


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="TABLE [TABLE ...] [KEY VALUE ...]", help="table files; overrides")
    parser.add_argument("--base", action="append", default=[], metavar="NAME=FILE", help="another config for a base")
    parser.add_argument("--rows", metavar="ROW,ROW,...", help="these rows of the tables alone")
    parser.add_argument("--seeds", nargs="+", default=["0"], metavar="N", help="default: 0")
    parser.add_argument("--output", metavar="FOLDER", help="default: output/tables/<names of the tables>")
    parser.add_argument("--dry-run", action="store_true", help="print rows, what is shared and the cost, and stop")
    parser.add_argument("--report", action="store_true", help="write tables and page of what is done, and stop")
    parser.add_argument("--pretrain", action="store_true", help="make initial weights that are missing from crops")
    parser.add_argument("--jobs", type=int, metavar="N", help="tasks at a time; default: one for each GPU, or one")
    parser.add_argument("--slurm", nargs="*", metavar="KEY=VALUE", help="run as jobs of Slurm, with these parameters")
    parser.add_argument("--cluster", default="slurm", choices=["slurm", "local"], help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args(arguments)
    # argparse gives a flag of several words all that follow it, the overrides too.
    args.seeds, after_seeds = _leading(args.seeds, str.isdecimal)
    args.slurm, after_slurm = (None, []) if args.slurm is None else _leading(args.slurm, lambda word: "=" in word)
    args.words += [*after_seeds, *after_slurm]
    first = next((i for i, word in enumerate(args.words) if not word.endswith((".yaml", ".yml"))), len(args.words))
    args.tables, args.opts = args.words[:first], args.words[first:]
    return args


def _leading(words: List[str], belongs: Callable[[str], bool]) -> Tuple[List[str], List[str]]:
    own = list(itertools.takewhile(belongs, words))
    return own, words[len(own) :]


def _pairs(flag: str, words: List[str]) -> Dict[str, str]:
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise ConfigError(f"{flag} {wrong[0]}: it takes NAME=VALUE.")
    return dict(word.split("=", 1) for word in words)


def _executor(args: argparse.Namespace, folder: str):
    if args.slurm is None:
        return LocalExecutor(args.jobs)
    parameters = {key: int(v) if v.isdecimal() else v for key, v in _pairs("--slurm", args.slurm).items()}
    return ClusterExecutor(os.path.join(folder, "jobs"), parameters, args.jobs, args.cluster)


def run(args: argparse.Namespace) -> int:
    """Plan, run and report as `args` say; 1 if a row could not be measured."""
    if not args.tables:
        what = f"{args.opts[0]} is none" if args.opts else "the command names none"
        raise ConfigError(f"No table file (.yaml): {what}; there are some in configs/tables.")
    if not args.seeds:
        raise ConfigError("--seeds takes whole numbers from 0 on.")
    if len(args.opts) % 2:
        raise ConfigError(f"After the tables come KEY VALUE pairs, and these are none: {' '.join(args.opts)}.")
    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs {args.jobs}: it takes whole numbers from 1 on.")
    bases = _pairs("--base", args.base)
    tables = [read_table(path) for path in args.tables]
    for name in bases:
        if not any(name in table.bases for table in tables):
            known = ", ".join(dict.fromkeys(base for table in tables for base in table.bases))
            raise ConfigError(f"--base {name}: the tables have no base of that name, but {known}.")
    tables = [
        read_table(path, {k: v for k, v in bases.items() if k in t.bases}) for path, t in zip(args.tables, tables)
    ]
    if args.rows:
        tables = choose_rows(tables, args.rows.split(","))
    folder = args.output or os.path.join("output", "tables", "_".join(table.name for table in tables))
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ConfigError(f"--output {folder} is a file: name a folder.")
    tools = os.path.relpath(os.path.dirname(os.path.abspath(__file__)))
    seeds = sorted({int(seed) for seed in args.seeds})
    plan = plan_sweep(tables, folder, seeds, tools, args.opts, pretrain=args.pretrain)
    if args.dry_run:
        print(plan)
        return 1 if plan.problems else 0
    if args.report:
        print(write_tables(plan, {}))
        return 0
    if plan.problems:
        raise ConfigError("this sweep cannot start; --dry-run shows the whole plan.\n" + "\n".join(plan.problems))
    states: Dict[str, str] = {}
    interrupted: Optional[KeyboardInterrupt] = None
    try:
        states = run_sweep(plan, _executor(args, folder), lambda text: print(text, flush=True))
    except KeyboardInterrupt as interrupt:
        interrupted = interrupt
    print("\n" + write_tables(plan, states))
    if interrupted is not None:
        print(f"{str(interrupted) or 'interrupted'}; the same command goes on", file=sys.stderr)
        return status_of(interrupted)
    return 1 if any(state != "done" for state in states.values()) else 0


if __name__ == "__main__":
    arguments = parse_arguments()
    sys.exit(guarded(lambda: run(arguments)))
