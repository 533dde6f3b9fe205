#!/usr/bin/env python
"""Make proposal sets that a detector trains and tests on: FOLDER/<data set> for each data set of a config.

python tools/make_proposals.py selective_search --config-file configs/zf_4step.yaml --output datasets/proposals/ss
python tools/make_proposals.py edge_boxes --config-file configs/zf_4step.yaml --output datasets/proposals/eb
python tools/make_proposals.py rpn --config-file output/zf_4step/config.yaml --output datasets/proposals/rpn \\
    MODEL.RPN.POST_NMS_TOPK_TEST 2000
python tools/make_proposals.py import --format selective_search --dataset voc_2007_trainval \\
    --config-file configs/zf_4step.yaml voc_2007_trainval.mat --output datasets/proposals/ss_matlab

Each takes config overrides, KEY VALUE, at the end. A set that is finished is left as it is; one that was cut is gone on
with by the same command.
"""

import argparse
import sys
from typing import List, Optional

from frcnn_alt.engine.command_line import run_command_line
from frcnn_alt.engine.defaults import setup_cfg
from frcnn_alt.engine.folder_lock import held_folder
from frcnn_alt.engine.make_proposals import import_set, make_sets_by_rpn, make_sets_from_pixels
from frcnn_alt.engine.output_folder import check_output_folder, tidied_if_refused
from frcnn_alt.engine.processes import log_processes
from frcnn_alt.engine.stopping import status_of
from frcnn_alt.engine.stored_proposals import keys_to_set
from frcnn_alt.engine.trained_network import find_trained_network
from frcnn_alt.proposals import PROPOSAL_FORMATS, EdgeBoxes, SelectiveSearch
from frcnn_alt.safe_write import naming_errors

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="FILE", help="whose DATASETS are meant")
    parser.add_argument("--overlay", metavar="FILE", action="append", default=[], help="as of tools/train_net.py")
    parser.add_argument(
        "--import", dest="modules", metavar="MODULE", action="append", default=[], help="as of tools/train_net.py"
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="a set goes to FOLDER/<data set>")
    parser.add_argument("--overwrite", action="store_true", help="make sets anew that are there")
    parser.set_defaults(num_gpus=1, num_machines=1)


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("train", "test", "both"), default="both", help="default: %(default)s")


def _add_pixels(parser: argparse.ArgumentParser) -> None:
    _add_split(parser)
    parser.add_argument("--processes", type=int, metavar="N", help="images at a time (default: one on each core)")
    parser.add_argument("--boxes", type=int, default=2000, metavar="N", help="most of an image (default: %(default)s)")


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    search = commands.add_parser("selective_search", help="Selective Search, by OpenCV's contrib module")
    _add_pixels(search)
    search.add_argument("--quality", action="store_true", help="quality mode instead of fast mode")
    search.add_argument(
        "--width", type=int, default=0, metavar="N", help="search images resized to this width (R-CNN's 500)"
    )
    search.add_argument("--smallest-side", type=int, default=20, metavar="N", help="of a box (default: %(default)s)")

    edges = commands.add_parser("edge_boxes", help="EdgeBoxes, by OpenCV's contrib module")
    _add_pixels(edges)
    edges.add_argument("--edge-model", default="", metavar="FILE", help="of OpenCV's structured edge detector")

    network = commands.add_parser("rpn", help="the RPN of a trained network; its MODEL.RPN.*_TEST keys say how many")
    _add_split(network)

    foreign = commands.add_parser("import", help="a published file, for one data set")
    foreign.add_argument("--format", required=True, choices=tuple(PROPOSAL_FORMATS), help="of FILE")
    foreign.add_argument("--dataset", required=True, metavar="NAME", help="the data set whose images FILE is of")
    foreign.add_argument(
        "--drop-duplicate-and-tiny", action="store_true", help="as py-faster-rcnn does with .mat files"
    )
    foreign.add_argument("file", metavar="FILE", help="file or folder to import")

    for command in (search, edges, network, foreign):
        _add_common(command)
    stock = default_argument_parser()
    for flag in ("num_gpus", "num_machines", "machine_rank", "dist_url"):
        default = stock.get_default(flag)
        network.add_argument(f"--{flag.replace('_', '-')}", type=type(default), default=default)
    # KEY VALUE may stand anywhere after the command, which argparse cannot say of a subcommand's words.
    args, args.opts = parser.parse_known_args(arguments)
    unknown = [word for word in args.opts if word.startswith("--")]
    if unknown:
        parser.error(f"{args.command} has no {' '.join(unknown)}")
    return args


def make(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Call the function of the package that a command stands for."""
    if args.command == "rpn":
        make_sets_by_rpn(cfg, args.output, split=args.split, overwrite=args.overwrite)
    elif args.command == "import":
        import_set(
            cfg,
            args.file,
            args.format,
            args.dataset,
            args.output,
            drop_duplicate_and_tiny=args.drop_duplicate_and_tiny,
            overwrite=args.overwrite,
        )
    else:
        if args.command == "edge_boxes":
            method = EdgeBoxes(args.boxes, args.edge_model)
        else:
            method = SelectiveSearch(args.boxes, args.quality, args.width, args.smallest_side)
        make_sets_from_pixels(
            cfg, method, args.output, split=args.split, processes=args.processes, overwrite=args.overwrite
        )


def run(args: argparse.Namespace) -> int:
    """Make what `args` ask for, and say how to use it."""
    cfg = setup_cfg(args)
    if args.command == "rpn":
        find_trained_network(cfg, args)
    check_output_folder(args.output, "--output")
    try:
        with tidied_if_refused(args.output), held_folder(args.output, "--output", what="another command"):
            with naming_errors(args.output):
                for name in ("detectron2", "fvcore", "frcnn_alt"):
                    setup_logger(args.output, distributed_rank=comm.get_rank(), name=name)
            log_processes()
            make(cfg, args)
    except KeyboardInterrupt as interrupt:
        if comm.is_main_process():
            what = f"{str(interrupt) or 'interrupted'}; what is done is kept, and the same command goes on with it"
            print(what, file=sys.stderr)
        return status_of(interrupt)
    if comm.is_main_process():
        print("for a detector on these proposals, e.g. with --overlay configs/overlays/fast_rcnn.yaml:")
        print(" ".join(keys_to_set(cfg, args.output)) or "(the sets of the other data sets are not there yet)")
    return 0


if __name__ == "__main__":
    sys.exit(run_command_line(run, parse_arguments()))
