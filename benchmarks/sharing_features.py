#!/usr/bin/env python
"""The ways of sharing features, on one data set, over several seeds, at the same number of training images seen.

python benchmarks/sharing_features.py --config-file configs/demo/zf_4step_shapes.yaml --output output/sharing_shapes \
    --title "Generated shapes" --plot docs/images/sharing_shapes.png > benchmarks/results/sharing_shapes.md

Trains what is not trained yet below --output (it may be interrupted), --jobs trainings at a time with one thread each,
and prints the measured figures as Markdown. With --shapes every seed has generated images of its own. Times are
comparable only between methods, since all run beside --jobs - 1 others.

Two methods see fewer images, as in the originals: the paper's "unshared" is the 4-step training after step 2, evaluated
on step 1's proposals ("after step 2"); py-faster-rcnn's approximate joint training is shorter ("short joint").
"""

import argparse
import itertools
import json
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from frcnn_alt import get_cfg
from frcnn_alt.report import Run, StepRecord, read_run

from matplotlib.figure import Figure
from sharing_methods import AFTER_STEP_2, METHODS, OVERLAYS, images_seen, overrides
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]


class Figures(NamedTuple):
    """Of one training: AP50 and AP in percent, all steps' seconds with the proposals between them, the most MiB."""

    ap50: float
    ap: float
    seconds: float
    memory: int


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
        if not (folder / "results.json").exists():
            self._train(method, seed, folder)
        step = folder / "step2_fast_rcnn"
        if method == "4-step" and not (step / "eval_only" / "results.json").exists():
            proposals = self.cfg.MODEL.RPN.POST_NMS_TOPK_TEST
            words = ["tools/train_net.py", "--config-file", str(step / "config.yaml"), "--eval-only"]
            words += ["DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", str(proposals)]
            self._call(f"{folder.name}_after_step_2", *words)

    def _train(self, method: str, seed: int, folder: Path) -> None:
        words = ["tools/train_net.py", "--config-file", self.args.config_file, "--resume"]
        words += ["--overlay", str(OVERLAYS / METHODS[method])] if METHODS[method] else []
        words += ["OUTPUT_DIR", str(folder), *self._common(seed), *overrides(self.cfg, method)]
        self._call(folder.name, *words)
        print(f"{method}, seed {seed}: trained", file=sys.stderr, flush=True)

    def measure(self) -> Tuple[Dict[str, List[Figures]], Run]:
        """Train all that is missing; method -> its figures, by seed, and one of the runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self.args.jobs) as pool:
            list(pool.map(self.prepare, self.args.seeds))
            # Seed by seed, so that what there is of an interrupted measurement can be compared.
            jobs = itertools.product(self.args.seeds, self.args.methods)
            list(pool.map(lambda job: self.train(job[1], job[0]), jobs))
        runs = {
            method: [read_run(str(self.run_folder(method, seed))) for seed in self.args.seeds]
            for method in self.args.methods
        }
        figures: Dict[str, List[Figures]] = {}
        for method, of_method in runs.items():
            figures[method] = [figures_of(next(iter(run.box_results.values())), run.steps) for run in of_method]
            if method == "4-step":
                figures[AFTER_STEP_2] = [after_step_2(run) for run in of_method]
        return figures, next(iter(runs.values()))[0]


def figures_of(box: Dict[str, float], steps: List[StepRecord]) -> Figures:
    memory = max(step.peak_memory_mib or 0 for step in steps)
    return Figures(box["AP50"], box["AP"], sum(step.seconds for step in steps), memory)


def after_step_2(run: Run) -> Figures:
    """Of the two networks that a 4-step run has after step 2, evaluated by `Measurement.train`."""
    path = Path(run.path) / "step2_fast_rcnn" / "eval_only" / "results.json"
    return figures_of(json.loads(path.read_text())["bbox"], run.steps[:2])


def _mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


_ABOUT = """\
Mean and standard deviation over the seeds; AP50 and AP in percent. All methods start from the same weights of a seed.
{jobs} trainings at a time, one thread each; memory is that of the training process, or of the GPU where there is one.
"After step 2" is the paper's "unshared", the two networks halfway through "4-step"; "unshared" spends all images on
these two steps. "Short joint" is approximate joint training on as few of the images as py-faster-rcnn's, 140k of 320k;
"shorter joint" on half as many.
"""


def as_markdown(figures: Dict[str, List[Figures]], a_run: Run, measurement: Measurement) -> str:
    """The table, and how it was made."""
    args, rows = measurement.args, []
    for method, of_method in figures.items():
        ap50, ap, seconds, memory = zip(*of_method)
        each = ", ".join(f"{value:.1f}" for value in ap50)
        accuracy, cost = (
            map(_mean_and_spread, (ap50, ap)),
            [_mean_and_spread(values, 0) for values in (seconds, memory)],
        )
        rows.append([method, str(images_seen(measurement.cfg, method)), each, *accuracy, *cost])
    seeds = f"AP50 of seeds {', '.join(map(str, args.seeds))}"
    header = ["method", "images seen", seeds, "AP50", "AP", "training, s", "peak memory, MiB"]
    table = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    machine = a_run.manifest["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in a_run.manifest["versions"].items())
    return (
        f"# Sharing features: {args.title}\n\n{table}\n\n{_ABOUT.format(jobs=args.jobs)}\n"
        f"- machine: {machine['cpu_cores']} CPU cores, GPU: {machine['gpu'] or 'none'}, {machine['platform']}\n"
        f"- versions: {versions}\n- command: `python {shlex.join(sys.argv)}`"
    )


def plot(figures: Dict[str, List[Figures]], title: str, path: str) -> None:
    """AP50 of every run, a row for each method; bars are the means."""
    figure = Figure(figsize=(7, 0.8 + 0.4 * len(figures)), layout="constrained")
    axes = figure.add_subplot()
    for row, of_method in enumerate(figures.values()):
        ap50 = [one.ap50 for one in of_method]
        axes.plot(ap50, [row] * len(ap50), "o", alpha=0.7, color="#1f5a94")
        axes.plot(statistics.mean(ap50), row, "|", markersize=18, markeredgewidth=2, color="#c0392b")
    axes.set(
        xlabel="AP50, %; a dot for each seed, a bar for their mean",
        title=title,
        yticks=range(len(figures)),
        yticklabels=list(figures),
    )
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
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
    measured, a_run = measurement.measure()
    print(as_markdown(measured, a_run, measurement))
    if measurement.args.plot:
        plot(measured, measurement.args.title, measurement.args.plot)
