#!/usr/bin/env python
"""Train or evaluate any config of this package: the front door.

python tools/train_net.py --config-file configs/vgg16_4step.yaml [--dry-run] [--resume] [KEY VALUE ...]
python tools/train_net.py --config-file output/vgg16_4step/config.yaml --eval-only
"""

import sys

from frcnn_alt.engine import default_argument_parser, main, run_command_line

if __name__ == "__main__":
    sys.exit(run_command_line(main, default_argument_parser().parse_args()))
