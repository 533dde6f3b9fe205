#!/usr/bin/env python
"""Split the time of an image into the parts of the paper's Table 5, for any config and machine.

python tools/benchmark_parts.py --config-file output/vgg16_4step/config.yaml --output output/parts
python tools/benchmark_parts.py --config-file configs/vgg16_4step.yaml --config-file configs/zf_4step.yaml \\
    --random-weights --image-size 600x800 --images 10 [KEY VALUE ...]
python tools/benchmark_parts.py --config-file configs/vgg16_4step.yaml,configs/overlays/fast_rcnn.yaml \\
    --random-weights --image-size 600x800 --proposal-time 1510 --paper-row "VGG SS+FRCN"

Parts: image preparation (reading, resizing, moving to the device, normalising), conv, proposals (the RPN with its NMS),
region-wise (pooling, fc layers, softmax, the detector's NMS), the rest. docs/ABLATIONS.md says how they are told apart.
"""

import argparse
import math
import re
import sys
import tempfile
from typing import List, Optional, Tuple

from frcnn_alt.data.sample_images import read_image_folder, write_noise_images
from frcnn_alt.engine.command_line import run_command_line
from frcnn_alt.engine.machine import describe_machine, describe_versions, load_average
from frcnn_alt.engine.output_folder import check_output_folder
from frcnn_alt.engine.timed_systems import SystemToTime, build_systems
from frcnn_alt.evaluation import measure_parts
from frcnn_alt.report.parts import PAPER_ROWS, parts_data, parts_text, write_parts


def _size(text: str) -> Tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or 0 in map(int, found.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no HEIGHTxWIDTH in pixels, such as 600x800")
    return int(found[1]), int(found[2])


def _at_least(least: int):
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return number


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config-file",
        required=True,
        action="append",
        metavar="FILE[,OVERLAY]",
        help="of a system, with overlays of its own; repeatable, and the systems are measured by turns",
    )
    parser.add_argument("--name", action="append", default=[], help="of a system in the table, in the same order")
    parser.add_argument("--overlay", metavar="FILE", action="append", default=[], help="for all systems; repeatable")
    parser.add_argument(
        "--import", dest="modules", metavar="MODULE", action="append", default=[], help="as of tools/train_net.py"
    )
    parser.add_argument("--images", type=_at_least(1), default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--warm-up", type=_at_least(0), default=5, metavar="N", help="not counted before (default: 5)")
    parser.add_argument("--repetitions", type=_at_least(1), default=3, metavar="N", help="of each image (default: 3)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--image-folder", metavar="FOLDER", help="images in place of those of DATASETS.TEST")
    source.add_argument("--image-size", type=_size, metavar="HEIGHTxWIDTH", help="noise in place of DATASETS.TEST")
    parser.add_argument("--random-weights", action="store_true", help="do not load MODEL.WEIGHTS")
    parser.add_argument(
        "--proposal-time",
        type=_milliseconds,
        metavar="MS",
        help="of the program that made stored proposals, an image, measured elsewhere",
    )
    parser.add_argument(
        "--paper-row", action="append", choices=list(PAPER_ROWS), help="show this row alone of the paper; repeatable"
    )
    parser.add_argument("--output", metavar="FOLDER", help="write parts.json, parts.md and parts.png there, anew")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides of all systems: KEY VALUE ...")
    parser.set_defaults(num_gpus=1, num_machines=1)
    return parser.parse_args(arguments)


def _systems(args: argparse.Namespace, scratch: str) -> List[SystemToTime]:
    if args.image_folder:
        images = read_image_folder(args.image_folder, args.images)
        return build_systems(args, images, f"the first of {args.image_folder}")
    if args.image_size:
        height, width = args.image_size
        images = write_noise_images(scratch, height, width, args.images)
        return build_systems(args, images, f"noise of {height}x{width}, made on the spot")
    return build_systems(args)


def run(args: argparse.Namespace) -> int:
    """Measure as `args` say."""
    if args.output:
        check_output_folder(args.output, "--output")
    machine = {**describe_machine(), "load_before": load_average()}
    with tempfile.TemporaryDirectory() as scratch:
        systems = _systems(args, scratch)
        times = measure_parts([one.system for one in systems], repetitions=args.repetitions, warm_up=args.warm_up)
    machine["load_after"] = load_average()  # what else the machine did
    data = parts_data(times, [one.facts for one in systems], machine, describe_versions(), sys.argv)
    print(parts_text(data, args.paper_row))
    if args.output:
        for path in write_parts(data, args.output, args.paper_row):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_command_line(run, parse_arguments()))
