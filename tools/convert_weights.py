#!/usr/bin/env python
"""Convert weights of Caffe or torchvision to a file for MODEL.WEIGHTS, and tell what came from where.

python tools/convert_weights.py --config-file configs/vgg16_4step.yaml VGG_ILSVRC_16_layers.caffemodel \\
    -o datasets/pretrained/vgg16_imagenet.pth
python tools/convert_weights.py --config-file configs/zf_4step.yaml rpn.caffemodel fast_rcnn.caffemodel \\
    -o zf_detector.pth [KEY VALUE ...]

The files: VGG-16 or ZF-net trained on ImageNet; a detector of py-faster-rcnn; the two files of the MATLAB release's
detector; torchvision's vgg16. They can also be named in MODEL.WEIGHTS as they are.

With --classes a detector, one of these or of this package or detectron2, keeps the rows of some classes, in any order:

python tools/convert_weights.py --config-file configs/vgg16_4step.yaml output/vgg16_4step_coco/model_final.pth \\
    --classes voc -o coco_only.pth MODEL.ANCHOR_GENERATOR.SIZES "[[64, 128, 256, 512]]"
"""

import argparse
import sys
from typing import Dict, List, Optional

from frcnn_alt import get_cfg
from frcnn_alt.engine.command_line import run_command_line
from frcnn_alt.engine.convert import convert_weights
from frcnn_alt.engine.defaults import ConfigError, setup_cfg

_LIST = "voc, coco, a registered data set, or a file with one name a line"


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the model that will load the weights")
    parser.add_argument("--overlay", metavar="FILE", action="append", default=[], help="as of tools/train_net.py")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=".pth to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument("--classes", metavar="LIST", default="", help=f"the classes to keep, in order: {_LIST}")
    parser.add_argument(
        "--from-classes", metavar="LIST", default="", help="the detector's own classes, where its file does not tell"
    )
    parser.add_argument(
        "--synonym",
        metavar="NAME=NAME",
        action="append",
        default=[],
        help="a class to keep and what the detector calls it; repeatable (COCO's and VOC's names are known)",
    )
    parser.add_argument(
        "words", nargs="+", metavar="FILE [FILE] [KEY VALUE ...]", help="what to read; config overrides"
    )
    parser.set_defaults(num_gpus=1, num_machines=1)
    args = parser.parse_intermixed_args(arguments)
    sections = tuple(f"{section}." for section in get_cfg())
    first = next((i for i, word in enumerate(args.words) if word.startswith(sections)), len(args.words))
    args.files, args.opts = args.words[:first], args.words[first:]
    return args


def _synonyms(pairs: List[str]) -> Dict[str, str]:
    wrong = [pair for pair in pairs if pair.count("=") != 1 or not all(pair.split("="))]
    if wrong:
        raise ConfigError(f"--synonym {wrong[0]!r}: it is written NAME=NAME, a class to keep and the detector's.")
    return dict(pair.split("=") for pair in pairs)


def run(args: argparse.Namespace) -> int:
    """Convert as `args` say."""
    told = convert_weights(
        setup_cfg(args),
        args.files,
        args.output,
        overwrite=args.overwrite,
        classes=args.classes,
        from_classes=args.from_classes,
        synonyms=_synonyms(args.synonym),
    )
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(run_command_line(run, parse_arguments()))
