#!/usr/bin/env python
"""Measure and draw the recall of proposal sets over IoU, one curve a method, as the paper's Figure 4.

python tools/evaluate_proposals.py --config-file configs/zf_4step.yaml --output output/recall \\
    "SS=datasets/proposals/voc_2007_test" "RPN ZF=output/zf_4step/step1_rpn/proposals/voc_2007_test" [KEY VALUE ...]

A method that is named several times has several runs (seeds): drawn as their mean, with a band of one standard
deviation on either side. Writes recall.csv, average_recall.csv and recall.json, and for each data set recall.png,
recall.svg, recall_by_size.png and recall_by_size.svg.
"""

import argparse
import itertools
import os
import re
import sys
from typing import Dict, List, Optional

from frcnn_alt.engine import ConfigError, run_command_line, setup_cfg
from frcnn_alt.engine.compared_proposals import open_compared_sets
from frcnn_alt.engine.output_folder import check_output_folder
from frcnn_alt.evaluation import RecallCurves, recall_curves
from frcnn_alt.report import (
    plot_recall_curves,
    recall_summary,
    write_average_recall_csv,
    write_recall_csv,
    write_recall_json,
)

SIZES = ("small", "medium", "large")


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="any config with the data set")
    parser.add_argument("--overlay", metavar="FILE", action="append", default=[], help="as of tools/train_net.py")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="DATASETS.TRAIN or .TEST (default)")
    parser.add_argument(
        "--rule",
        choices=("one_to_one", "maximum"),
        default="one_to_one",
        help="a proposal covers one object (default), or every object has its best proposal",
    )
    parser.add_argument(
        "--limits",
        nargs="+",
        default=["300", "1000", "2000"],
        metavar="N",
        help="numbers of proposals an image (default: 300 1000 2000)",
    )
    parser.add_argument("words", nargs="*", metavar="METHOD=FOLDER | KEY VALUE", help="proposal sets; config overrides")
    parser.set_defaults(num_gpus=1, num_machines=1)
    args = parser.parse_intermixed_args(arguments)
    # argparse gives --limits all that follows it, the sets and the overrides too.
    numbers = list(itertools.takewhile(str.isdecimal, args.limits))
    args.sets, args.opts = [], []
    for words in (args.words, args.limits[len(numbers) :]):
        sets = list(itertools.takewhile(lambda word: "=" in word, words))
        args.sets += [tuple(word.split("=", 1)) for word in sets]
        args.opts += words[len(sets) :]
    misplaced = [word for word in args.opts[::2] if "=" in word]
    if misplaced:
        parser.error(f"{misplaced[0]} stands where a KEY is expected: proposal sets come first, then KEY VALUE pairs.")
    args.limits = sorted({int(number) for number in numbers})
    return args


def run(args: argparse.Namespace) -> int:
    """Measure, write and draw as `args` say.

    Raises:
        ConfigError, DatasetError: a mistake that the message says how to mend.
    """
    if not args.limits or args.limits[0] < 1:
        raise ConfigError("--limits takes numbers of proposals, from 1 on.")
    if not args.sets or not all(method.strip() and folder for method, folder in args.sets):
        raise ConfigError('Name proposal sets as METHOD=FOLDER, such as "SS=datasets/proposals/voc_2007_test".')
    check_output_folder(args.output, "--output")
    by_dataset: Dict[str, Dict[str, List[RecallCurves]]] = {}
    for method, proposals, dicts in open_compared_sets(setup_cfg(args), args.split.upper(), args.sets):
        runs = by_dataset.setdefault(proposals.dataset_name, {}).setdefault(method, [])
        runs.append(recall_curves(proposals, dicts, args.limits, args.rule))
    together: Dict[str, List[RecallCurves]] = {}
    for curves in by_dataset.values():
        for method, runs in curves.items():
            together.setdefault(method, []).extend(runs)
    write_recall_csv(together, os.path.join(args.output, "recall.csv"))
    write_average_recall_csv(together, os.path.join(args.output, "average_recall.csv"))
    write_recall_json(together, os.path.join(args.output, "recall.json"))
    for name, curves in by_dataset.items():
        suffix = "_" + re.sub(r"[^\w.-]", "_", name) if len(by_dataset) > 1 else ""
        for extension in ("png", "svg"):
            plot_recall_curves(curves, os.path.join(args.output, f"recall{suffix}.{extension}"))
            plot_recall_curves(curves, os.path.join(args.output, f"recall_by_size{suffix}.{extension}"), SIZES)
        print(f"Recall of the best proposals of each image of {name}, % of the objects, {args.rule}\n")
        print(f"{recall_summary(curves)}\n")
    print(f"curves, figures: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command_line(run, parse_arguments()))
