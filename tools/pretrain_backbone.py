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

from frcnn_alt.data import DatasetError
from frcnn_alt.engine.defaults import ConfigError, setup_cfg
from frcnn_alt.engine.pretrain import pretrain, working_folder

from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger


def run(args: argparse.Namespace) -> None:
    """What each process does."""
    cfg = setup_cfg(args)
    output = args.output or cfg.MODEL.WEIGHTS
    for name in ("detectron2", "fvcore", "frcnn_alt"):
        setup_logger(working_folder(output) if output else None, distributed_rank=comm.get_rank(), name=name)
    pretrain(cfg, output, resume=args.resume, overwrite=args.overwrite)


def main() -> None:
    parser = default_argument_parser(__doc__)
    parser.add_argument("--output", default="", help="file to write (default: MODEL.WEIGHTS)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    args = parser.parse_args()
    try:
        if args.num_gpus * args.num_machines > 1:
            launch(run, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, (args,))
        else:
            run(args)
    except (ConfigError, DatasetError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
