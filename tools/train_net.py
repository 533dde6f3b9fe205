#!/usr/bin/env python
"""Train or evaluate any config of this package: the front door.

python tools/train_net.py --config-file configs/vgg16_4step.yaml [--dry-run] [--resume] [KEY VALUE ...]
python tools/train_net.py --config-file output/vgg16_4step/config.yaml --eval-only
"""

import functools
import os
import sys

from frcnn_alt.engine import default_argument_parser, main, run_command_line
from frcnn_alt.report import final_table, write_report, write_tensorboard


def report(run_dir: str) -> None:
    """Write and announce what there is to look at; runs of a single step leave no manifest to report on."""
    if os.path.exists(os.path.join(run_dir, "manifest.json")):
        write_tensorboard(run_dir)
        write_report(run_dir)
        print(final_table(run_dir))


if __name__ == "__main__":
    arguments = default_argument_parser(__doc__).parse_args()
    sys.exit(run_command_line(functools.partial(main, after_training=report), arguments))
