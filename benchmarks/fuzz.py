"""Feed millions of damaged files to every reader of files that may come from elsewhere (`fuzz_targets.py`).

Each input must be read, or end in the room's own error, in bounded time and memory. Everything else is a failure: it is
counted by the type of the exception and the line that it came from, and the first input of each is kept in a folder.

    python benchmarks/fuzz.py --inputs 100000 --seed 0 --failures /tmp/failures           # all targets, one by one
    python benchmarks/fuzz.py caffemodel voc_annotation --minutes 5
    python benchmarks/fuzz.py caffemodel --engine atheris                         # needs `pip install atheris`
    python benchmarks/fuzz.py caffemodel --replay /tmp/failures/caffemodel/1      # one input, with its traceback

Two engines make inputs. "mutations" is our own (`fuzz_mutations.py`): seed files that are damaged; the same seed gives
the same inputs. "atheris" is libFuzzer, which follows what inputs reach in the code of this package; it comes as a
wheel for x86-64 and Python 3.11 to 3.13. Each target runs in a process of its own, so that a crash of a library ends
one target; the input it died of lies in the folder too.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Dict, List, Tuple

from fuzz_mutations import mutate

SECONDS_PER_INPUT = 5
MEBIBYTES_PER_INPUT = 256
ADDRESS_SPACE = 6 << 30  # bytes beyond what is in use at the start: what asks for more gets a MemoryError


class Hang(BaseException):
    """An input took too long. No Exception: the readers catch those of damaged files."""


def _raise_hang(*_: Any) -> None:
    raise Hang(f"more than {SECONDS_PER_INPUT} s")


class Session:
    """Runs inputs of one target and counts what happens."""

    def __init__(self, target: Any, folder: Path, failures: Path, accepted: Tuple[type, ...]):
        self.target, self.accepted, self.failures = target, accepted, failures
        self.run_one = target.make(folder)
        self.last = failures / "last_input"
        self.inputs = self.read = self.refused = 0
        self.found: Dict[str, List[Any]] = {}
        self.began = time.monotonic()
        failures.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.last, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def run(self, data: bytes) -> None:
        os.pwrite(self._file, data, 0)  # what a library crashes of stays there
        os.ftruncate(self._file, len(data))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_INPUT)
        try:
            self.run_one(data)
            self.read += 1
        except self.accepted:
            self.refused += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._note(error, data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.inputs += 1
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if more > MEBIBYTES_PER_INPUT:
            self._note(MemoryError(f"{more:.0f} MiB more"), data)

    def _note(self, error: BaseException, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "frcnn_alt/" in frame.filename]
        frame = ours[-1] if ours else frames[-1] if frames else None
        where = f"{frame.filename.split('frcnn_alt/')[-1]}:{frame.lineno}" if frame else "-"
        known = self.found.setdefault(f"{type(error).__name__} at {where}", [0, f"{error}"[:200], None])
        known[0] += 1
        if known[2] is None or len(data) < known[2]:
            known[2] = len(data)
            (self.failures / str(list(self.found).index(f"{type(error).__name__} at {where}"))).write_bytes(data)

    def summary(self) -> Dict[str, Any]:
        seconds = time.monotonic() - self.began
        counts = {"inputs": self.inputs, "read": self.read, "refused": self.refused, "seconds": round(seconds, 1)}
        return {**counts, "per_second": round(self.inputs / max(seconds, 1e-9)), "failures": self.found}


def _with_mutations(session: Session, args: argparse.Namespace) -> None:
    seeds, words = session.target.seeds, session.target.words
    draw = random.Random(f"{args.seed} {session.target.name}")
    pool = list(seeds)
    end = time.monotonic() + 60 * args.minutes
    while session.inputs < args.inputs and time.monotonic() < end:
        data = mutate(draw.choice(pool), seeds, words, draw)
        read = session.read
        session.run(data)
        if session.read > read and draw.random() < 0.05:  # what can be read still is a new place to start from
            if len(pool) < 200:
                pool.append(data)
            else:
                pool[draw.randrange(len(seeds), len(pool))] = data


def _with_atheris(session: Session, args: argparse.Namespace, corpus: Path) -> None:
    import atheris

    corpus.mkdir()
    for number, seed in enumerate(session.target.seeds):
        (corpus / str(number)).write_bytes(seed)
    dictionary = corpus.with_name("words")
    dictionary.write_text(
        "".join('"' + "".join(f"\\x{b:02x}" for b in word) + '"\n' for word in session.target.words if len(word) <= 60)
    )

    def one(data: bytes) -> None:
        session.run(data)
        if session.inputs % 1000 == 0 or session.inputs >= args.inputs:
            (session.failures / "summary.json").write_text(json.dumps(session.summary()))

    flags = [f"-runs={args.inputs}", f"-seed={args.seed + 1}", f"-dict={dictionary}", "-max_len=65536", "-timeout=60"]
    flags += [f"-max_total_time={int(60 * args.minutes)}", "-rss_limit_mb=0", "-verbosity=0", "-len_control=10"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
    atheris.Fuzz()  # does not come back


def _run_target(args: argparse.Namespace) -> None:
    """In a process of its own: one target."""
    import contextlib
    import logging
    import warnings

    instrument: Any = contextlib.nullcontext()
    if args.engine == "atheris":
        import atheris

        instrument = atheris.instrument_imports(include=["frcnn_alt"])
    with instrument:
        from fuzz_targets import ACCEPTED, targets
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ADDRESS_SPACE, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _raise_hang)
    folder = Path(args.scratch)
    target = targets()[args.targets[0]]
    (folder / "files").mkdir()
    if args.replay:
        target.make(folder / "files")(Path(args.replay).read_bytes())
        print("it is read")
        return
    session = Session(target, folder / "files", Path(args.failures), ACCEPTED)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        if args.engine == "atheris":
            _with_atheris(session, args, folder / "corpus")
        else:
            _with_mutations(session, args)
    (session.failures / "summary.json").write_text(json.dumps(session.summary()))
    session.last.unlink()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", help="names of targets; all by default")
    parser.add_argument("--inputs", type=int, default=10_000, help="of the fastest targets; the others get fewer")
    parser.add_argument("--minutes", type=float, default=60.0, help="the most for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutations", "atheris"), default="mutations")
    parser.add_argument("--failures", default="/tmp/fuzz_failures", help="folder for failing inputs and summaries")
    parser.add_argument("--replay", help="a file: run it once through the one target, with its traceback")
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Run the targets one after another, each in a process of its own; 1 if any failed."""
    args = _parse()
    if args.scratch:
        _run_target(args)
        return 0
    from fuzz_targets import targets

    known = targets()
    names = args.targets or list(known)
    failed = False
    print(
        "| target | inputs | per second | read | refused | distinct failures |\n|---|---|---|---|---|---|", flush=True
    )
    for name in names:
        scratch = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        failures = os.path.join(args.failures, name)
        shutil.rmtree(failures, ignore_errors=True) if not args.replay else None
        inputs = max(1, args.inputs // known[name].slowness)
        flags = ["--inputs", str(inputs), "--minutes", str(args.minutes), "--seed", str(args.seed)]
        flags += ["--engine", args.engine, "--failures", failures, "--scratch", scratch]
        flags += ["--replay", args.replay] if args.replay else []
        try:
            done = subprocess.run([sys.executable, os.path.abspath(__file__), name, *flags], check=False)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if args.replay:
            return done.returncode
        summary = os.path.join(failures, "summary.json")
        if done.returncode or not os.path.isfile(summary):
            failed = True
            print(f"| {name} | ended with status {done.returncode}: {failures}/last_input | | | | |", flush=True)
        if os.path.isfile(summary):
            with open(summary) as file:
                found = json.load(file)
            counts = " | ".join(f"{found[key]:,}" for key in ("inputs", "per_second", "read", "refused"))
            print(f"| {name} | {counts} | {len(found['failures'])} |", flush=True)
            for number, (what, (times, text, length)) in enumerate(found["failures"].items()):
                failed = True
                print(f"    {failures}/{number} ({length} bytes, {times} times): {what}: {text}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
