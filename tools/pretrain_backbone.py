#!/usr/bin/env python
"""Pre-train a config's backbone with fc6 and fc7 as an image classifier, and write its MODEL.WEIGHTS.

On crops of the detection training split (PRETRAIN.DATA crops, the default):

    python tools/pretrain_backbone.py --config-file configs/demo/zf_4step_shapes.yaml

On an ImageNet-layout folder (train/<class>/*.jpg, val/<class>/*.jpg), on 4 GPUs:

    python tools/pretrain_backbone.py --config-file configs/zf_4step.yaml --output zf_imagenet.pth --num-gpus 4 \\
        PRETRAIN.DATA datasets/imagenet PRETRAIN.BATCH_SIZE 256 PRETRAIN.MAX_ITER 450000 \\
        PRETRAIN.STEPS "(200000,400000)"
"""

import argparse
import sys

from frcnn_alt.engine.command_line import run_command_line
from frcnn_alt.engine.defaults import setup_cfg
from frcnn_alt.engine.output_folder import check_output_folder, tidied_if_refused
from frcnn_alt.engine.pretrain import pretrain, working_folder
from frcnn_alt.safe_write import naming_errors

from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger


def run(args: argparse.Namespace) -> int:
    """Pre-train as `args` say, in one of the processes."""
    cfg = setup_cfg(args)
    output = args.output or cfg.MODEL.WEIGHTS
    folder = working_folder(output) if output and "://" not in output else ""
    if folder:
        check_output_folder(folder, "--output")
    with tidied_if_refused(folder):
        with naming_errors(folder or "."):
            for name in ("detectron2", "fvcore", "frcnn_alt"):
                setup_logger(folder or None, distributed_rank=comm.get_rank(), name=name)
        pretrain(cfg, output, resume=args.resume, overwrite=args.overwrite)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return detectron2's parser with what is to be written."""
    parser = default_argument_parser(__doc__)
    parser.add_argument("--output", default="", help="file to write (default: MODEL.WEIGHTS)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    return parser


if __name__ == "__main__":
    sys.exit(run_command_line(run, argument_parser().parse_args()))
