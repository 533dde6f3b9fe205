#!/usr/bin/env python
"""Kill a 4-step run again and again, go on with it each time, and compare what it ends with to an undisturbed run's.

python benchmarks/kill_resume.py > benchmarks/results/kill_resume.md
python benchmarks/kill_resume.py --runs 2 --kills-per-run 4 --kinds 0x1          # a quick look

The run is the miniature of all four steps: ZF-net with a sixteenth of its channels on generated images, --iterations
of each step, a checkpoint every fourth. It is killed (SIGKILL, with its loader workers and all of its processes) at
moments of two kinds: at points of what it does, chosen from all phases alike (`interrupted.py` has the list), and at
random times; every third run is asked to stop (SIGTERM) at random times. Then the same command is given again, with
--resume, until the run ends by itself.

Compared are the weights of the final network and of every step, the proposal sets, byte by byte, and the results
without their seconds. The exit status is 1 if anything differs.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from frcnn_alt.engine.machine import describe_machine, describe_versions

from interrupted import Event, read_diary
from killed_runs import NEVER, Command, Moment, fingerprint
from tabulate import tabulate

PERIOD = 4  # iterations between checkpoints
STARTING = "starting"  # planning, checking the data, or loading weights: before the first note of an attempt


class Kill(NamedTuple):
    """One end before the end: what the run was doing, and how many iterations were done again because of it."""

    phase: str
    detail: str
    done_again: int
    was_asked: bool = False  # by SIGTERM


class Campaign:
    """Runs of one kind.

    Args:
        args: the command line.
        folder: everything is written below it.
        workers: of the data loader.
        processes: of the training.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, workers: int, processes: int):
        self.args, self.workers, self.processes = args, workers, processes
        self.folder = folder / f"{workers}_workers_{processes}_processes"
        self.command = Command(folder, args.iterations, PERIOD, workers, processes)
        self.random = random.Random(f"{args.seed} {workers} {processes}")
        self.kills: List[Kill] = []
        self.runs = 0
        self.differences: List[str] = []

    def run(self) -> None:
        """The undisturbed run, then all others."""
        run = self.folder / "undisturbed"
        status = self.command.attempt(run)
        if status != 0:
            raise SystemExit(f"the undisturbed run ended with status {status}: see {run.with_suffix('.log')}")
        self.expected = fingerprint(run)
        noted = read_diary(self.command.diary(run))
        counts = Counter(noted)
        points = [event for event in noted if counts[event] == 1]  # a note that comes again tells no moment
        seconds = self.command.seconds
        for number in range(self.args.runs):
            if number % 3 == 0:
                moments = [Moment(point=point) for point in self._choose(points)]
            else:
                shares = [self.random.random() for _ in range(self.args.kills_per_run)]
                by = signal.SIGKILL if number % 3 == 1 else signal.SIGTERM
                moments = [Moment(seconds=share * seconds, signal=by) for share in shares]
            self._run_to_the_end(f"run{number}", moments)
            print(f"{self.folder.name}: {number + 1}/{self.args.runs} runs, {len(self.kills)} kills", file=sys.stderr)

    def _choose(self, points: List[Event]) -> List[Event]:
        """Some points, of all phases alike, in the order in which a run meets them."""
        by_phase: Dict[str, List[int]] = {}
        for index, (phase, _) in enumerate(points):
            by_phase.setdefault(phase, []).append(index)
        phases = list(by_phase)
        self.random.shuffle(phases)
        indices = {self.random.choice(by_phase[phases[i % len(phases)]]) for i in range(self.args.kills_per_run)}
        return [points[index] for index in sorted(indices)]

    def _run_to_the_end(self, name: str, moments: List[Moment]) -> None:
        """One run, cut at each of `moments`, then left alone."""
        run = self.folder / name
        earlier: List[List[Event]] = []
        status, was_asked = 0, False
        for moment in [*moments, NEVER]:
            before = len(read_diary(self.command.diary(run)))
            status = self.command.attempt(run, moment)
            earlier.append(read_diary(self.command.diary(run))[before:])
            was_asked = moment.signal == signal.SIGTERM or was_asked
            if status not in (-moment.signal, 128 + moment.signal):
                break
        self.kills += [kill._replace(was_asked=was_asked) for kill in _kills(earlier)]
        self.runs += 1
        if status != 0:
            self.differences.append(f"{name} ended with status {status}: see {run.with_suffix('.log')}")
            return
        found = fingerprint(run)
        wrong = sorted(file for file in {*found, *self.expected} if found.get(file) != self.expected.get(file))
        self.differences += [f"{name}: {file} is another one" for file in wrong]

    def row(self) -> List[str]:
        """Of the table of campaigns."""
        again = [kill.done_again for kill in self.kills if not kill.was_asked]
        after_stop = [kill.done_again for kill in self.kills if kill.was_asked]
        return [
            str(self.workers),
            str(self.processes),
            str(self.runs),
            str(len(again)),
            f"{sum(again) / max(len(again), 1):.1f}",
            str(max(again, default=0)),
            str(len(after_stop)),
            str(max(after_stop, default=0)),
            "none" if not self.differences else f"**{len(self.differences)}**",
        ]


def _kills(attempts: List[List[Event]]) -> List[Kill]:
    """What each attempt but the last was killed in, and the iterations that later ones did again because of it."""
    kills = []
    done: set = set()
    for notes, following in zip(attempts, attempts[1:]):
        done |= {event for event in notes if event[0] == "training"}
        again = len(done & set(following))
        phase, detail = notes[-1] if notes else (STARTING, "")
        kills.append(Kill(phase, detail, again))
    return kills


def _kinds(text: str) -> List[Tuple[int, int]]:
    return [(int(workers), int(processes)) for workers, processes in (kind.split("x") for kind in text.split(","))]


def _as_markdown(campaigns: List[Campaign], args: argparse.Namespace) -> str:
    kills = [kill for campaign in campaigns for kill in campaign.kills]
    by_phase = Counter(kill.phase for kill in kills)
    header = ["loader workers", "processes", "runs", "kills", "iterations done again: mean", "most"]
    header += ["stops (SIGTERM)", "most done again", "differences"]
    machine = describe_machine()
    parts = [
        "# Killed anywhere, and gone on with",
        f"`python {' '.join(sys.argv)}`: miniature 4-step runs ({args.iterations} iterations a step, a checkpoint "
        f"every {PERIOD}) killed by SIGKILL, or stopped by SIGTERM, and given again with --resume; "
        f"{len(kills)} times in all.",
        tabulate([campaign.row() for campaign in campaigns], header, tablefmt="github", disable_numparse=True),
        tabulate(sorted(by_phase.items()), ["cut in", "times"], tablefmt="github"),
        "\n".join(f"- {text}" for campaign in campaigns for text in campaign.differences)
        or "Final network, the network of every step, proposal sets and results of every run are bit-equal to those of "
        "an undisturbed one.",
        f"{machine['cpu_cores']} cores of {machine['cpu']}; "
        + ", ".join(f"{name} {version}" for name, version in describe_versions().items()),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=12, help="of each kind")
    parser.add_argument("--kills-per-run", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=16, help="of each step")
    parser.add_argument("--kinds", default="0x1,2x1,0x2", help="loader workers x processes, ...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="keep all runs there; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        campaigns = [Campaign(args, folder, *kind) for kind in _kinds(args.kinds)]
        for campaign in campaigns:
            campaign.run()
        print(_as_markdown(campaigns, args))
    return 1 if any(campaign.differences for campaign in campaigns) else 0


if __name__ == "__main__":
    sys.exit(main())
