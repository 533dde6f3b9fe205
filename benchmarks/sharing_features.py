#!/usr/bin/env python
"""The ways of sharing features, on one data set, over several seeds, at the same number of training images seen.

python benchmarks/sharing_features.py --config-file configs/demo/zf_4step_shapes.yaml --output output/sharing_shapes \
    --title "Generated shapes" --plot docs/images/sharing_shapes.png > benchmarks/results/sharing_shapes.md

Trains what is not trained yet below --output (it may be interrupted), --jobs trainings at a time with one thread each,
and prints the measured figures as Markdown. With --shapes every seed has generated images of its own. Times are
comparable only between methods, since all run beside --jobs - 1 others.
"""

import argparse
import itertools
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Tuple

from frcnn_alt import get_cfg
from frcnn_alt.report import Run, read_run

from detectron2.config import CfgNode
from matplotlib.figure import Figure
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
OVERLAYS = ROOT / "configs" / "overlays"
# What the tables call it -> overlay.
METHODS = {
    "4-step": None,
    "unshared": "unshared.yaml",
    "3 rounds": "three_rounds.yaml",
    "approximate joint": "joint.yaml",
    "non-approximate joint": "joint_nonapproximate.yaml",
}


def images_of(cfg: CfgNode, steps: Tuple[int, ...] = (1, 2, 3, 4)) -> int:
    """Training images that these steps of the four see."""
    nodes = [cfg.SCHEDULE[f"STEP{number}"] for number in steps]
    return sum(node.MAX_ITER * node.IMS_PER_BATCH for node in nodes)


def _scaled(cfg: CfgNode, number: int, factor: float) -> List[str]:
    node, words = cfg.SCHEDULE[f"STEP{number}"], []
    for key, value in (("MAX_ITER", round(node.MAX_ITER * factor)), ("STEPS", [round(s * factor) for s in node.STEPS])):
        words += [f"SCHEDULE.STEP{number}.{key}", str(value)]
    return words


def overrides(cfg: CfgNode, method: str) -> List[str]:
    """KEY VALUE ... that give `method` as many training images as the four steps of `cfg` see."""
    total = images_of(cfg)
    if method == "unshared":
        factor = total / images_of(cfg, (1, 2))
        return _scaled(cfg, 1, factor) + _scaled(cfg, 2, factor)
    if method == "3 rounds":
        return _scaled(cfg, 3, 1 / 3) + _scaled(cfg, 4, 1 / 3)
    if method.endswith("joint"):
        return _scaled(cfg, 1, total / images_of(cfg, (1,)))
    return []


class Measurement:
    """Trainings below one folder.

    Args:
        args: the command line.
    """

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.folder = Path(args.output)
        self.cfg = get_cfg()
        self.cfg.merge_from_file(args.config_file)

    def run_folder(self, method: str, seed: int) -> Path:
        return self.folder / f"{method.replace(' ', '_')}_{seed}"

    def _common(self, seed: int) -> List[str]:
        words = ["SEED", str(seed), "MODEL.WEIGHTS", str(self.folder / f"pretrained_{seed}.pth")]
        root = self.folder / f"shapes_{seed}" / "shapes" if self.args.shapes else self.args.data
        words += ["DATASETS.VOC_LAYOUT.ROOT", str(root)] if root else []
        return [*words, "DATALOADER.NUM_WORKERS", "1", *self.args.opts]

    def _call(self, log: str, *words: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with open(self.folder / f"{log}.log", "w") as file:
            done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, stdout=file, stderr=file)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)} ended with {done.returncode}: see {self.folder / log}.log")

    def prepare(self, seed: int) -> None:
        """Images and initial weights of a seed, which all methods share."""
        if self.args.shapes:
            target = str(self.folder / f"shapes_{seed}" / "shapes")
            self._call(f"shapes_{seed}", "-m", "frcnn_alt.data.shapes", "--output", target, "--seed", str(seed))
        words = ["tools/pretrain_backbone.py", "--config-file", self.args.config_file, "--resume", *self._common(seed)]
        self._call(f"pretrained_{seed}", *words)

    def train(self, method: str, seed: int) -> None:
        folder = self.run_folder(method, seed)
        if (folder / "results.json").exists():
            return
        words = ["tools/train_net.py", "--config-file", self.args.config_file, "--resume"]
        words += ["--overlay", str(OVERLAYS / METHODS[method])] if METHODS[method] else []
        words += ["OUTPUT_DIR", str(folder), *self._common(seed), *overrides(self.cfg, method)]
        self._call(folder.name, *words)
        print(f"{method}, seed {seed}: trained", file=sys.stderr, flush=True)

    def measure(self) -> Dict[str, List[Run]]:
        """Train all that is missing; method -> its runs, by seed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self.args.jobs) as pool:
            list(pool.map(self.prepare, self.args.seeds))
            # Seed by seed, so that what there is of an interrupted measurement can be compared.
            jobs = itertools.product(self.args.seeds, self.args.methods)
            list(pool.map(lambda job: self.train(job[1], job[0]), jobs))
        return {
            method: [read_run(str(self.run_folder(method, seed))) for seed in self.args.seeds]
            for method in self.args.methods
        }


def average_precision(run: Run) -> float:
    """AP50 of the final network, in percent."""
    return next(iter(run.box_results.values()))["AP50"]


def training_seconds(run: Run) -> float:
    """All steps, with the proposals between them."""
    return sum(step.seconds for step in run.steps)


def peak_memory(run: Run) -> int:
    return max(step.peak_memory_mib or 0 for step in run.steps)


def _mean_and_spread(values: List[float], digits: int = 1) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def as_markdown(runs: Dict[str, List[Run]], measurement: Measurement) -> str:
    """The table, and how it was made."""
    args, first = measurement.args, next(iter(runs.values()))[0]
    rows = []
    for method, of_method in runs.items():
        rows.append(
            [
                method,
                _mean_and_spread([average_precision(run) for run in of_method]),
                ", ".join(f"{average_precision(run):.1f}" for run in of_method),
                _mean_and_spread([training_seconds(run) for run in of_method], 0),
                _mean_and_spread([float(peak_memory(run)) for run in of_method], 0),
            ]
        )
    header = ["method", "AP50", f"seeds {', '.join(map(str, args.seeds))}", "training, s", "peak memory, MiB"]
    machine = first.manifest["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in first.manifest["versions"].items())
    lines = [
        f"# Sharing features: {args.title}",
        "",
        tabulate(rows, header, tablefmt="github", disable_numparse=True),
        "",
        f"AP50 in percent, mean and standard deviation; every method sees {images_of(measurement.cfg)} training images "
        f"and starts from the same weights of its seed. {args.jobs} trainings at a time, one thread each; memory is "
        "that of the training process, or of the GPU where there is one.",
        "",
        f"- machine: {machine['cpu_cores']} CPU cores, GPU: {machine['gpu'] or 'none'}, {machine['platform']}",
        f"- versions: {versions}",
        f"- command: `python {shlex.join(sys.argv)}`",
    ]
    return "\n".join(lines)


def plot(runs: Dict[str, List[Run]], title: str, path: str) -> None:
    """AP50 of every run over its training time, one colour and marker a method."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (method, of_method), marker in zip(runs.items(), "osD^v"):
        seconds = [training_seconds(run) for run in of_method]
        axes.plot(seconds, [average_precision(run) for run in of_method], marker, label=method, alpha=0.85)
    axes.set(xlabel="training time, seconds", ylabel="AP50, %", title=title)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="a config of the four steps")
    parser.add_argument("--output", required=True, help="folder of the runs")
    parser.add_argument("--title", required=True)
    parser.add_argument("--data", default="", help="DATASETS.VOC_LAYOUT.ROOT, where not the config's")
    parser.add_argument("--shapes", action="store_true", help="generate images, other ones for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--plot", help="picture to write")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... for all methods")
    args = parser.parse_args()
    for name in ("config_file", "output", "data", "plot"):  # the trainings run in the repository's root
        if getattr(args, name):
            setattr(args, name, os.path.abspath(getattr(args, name)))
    return args


if __name__ == "__main__":
    measurement = Measurement(parse_arguments())
    measured = measurement.measure()
    print(as_markdown(measured, measurement))
    if measurement.args.plot:
        plot(measured, measurement.args.title, measurement.args.plot)
