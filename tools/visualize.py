#!/usr/bin/env python
"""Draw what a trained network sees on photographs: its detections, or with --proposals N its best N proposals.

python tools/visualize.py --config-file output/zf_4step_shapes/config.yaml --input photos/ --output drawn/
python tools/visualize.py --config-file output/zf_4step_shapes/config.yaml --input a.jpg b.jpg --output drawn/ \\
    --proposals 50 MODEL.WEIGHTS output/zf_4step_shapes/model_final.pth

With --batch in place of --input, the images and objects of a batch that a training has saved because its loss was not
finite, as the network got them:

python tools/visualize.py --config-file configs/zf_4step.yaml --output drawn/ \\
    --batch output/zf_4step/step2_fast_rcnn/nonfinite_batch_0001234.pth
"""

import argparse
import os
import sys
from typing import Any, Dict, List, Optional

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import SafeCheckpointer, missing_files
from frcnn_alt.data import DatasetError
from frcnn_alt.data.images import IMAGE_EXTENSIONS, image_files_of
from frcnn_alt.engine.defaults import ConfigError, setup_cfg
from frcnn_alt.engine.failures import guarded
from frcnn_alt.engine.network import RPN, configure_network
from frcnn_alt.engine.output_folder import check_output_folder
from frcnn_alt.engine.saved_batch import objects_of, read_batch
from frcnn_alt.engine.trained_network import find_trained_network
from frcnn_alt.report import LabelledBox, class_color, draw_boxes
from frcnn_alt.safe_write import make_folder, replacing

import matplotlib
import numpy as np
import torch
from PIL import Image

# isort: split
# detectron2 only after frcnn_alt, which mends it for today's packages
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor


class InputError(ConfigError):
    """There is nothing to draw on, or no good place to draw into."""


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the config.yaml of a run")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", nargs="+", default=[], metavar="PATH", help="images, or folders of images")
    what.add_argument("--batch", metavar="FILE", help="a batch that a training has saved")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the drawn images go, as .jpg")
    parser.add_argument("--confidence-threshold", type=float, default=0.6, help="lowest score drawn (default: 0.6)")
    parser.add_argument("--proposals", type=int, default=0, metavar="N", help="draw the N best proposals instead")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    args = parser.parse_args(arguments)
    # argparse gives --input all that follows it, the overrides too.
    sections = tuple(f"{section}." for section in get_cfg())
    first = next((i for i, path in enumerate(args.input) if path.startswith(sections)), len(args.input))
    args.input, args.opts = args.input[:first], args.input[first:] + args.opts
    return args


def list_images(paths: List[str], output: str) -> List[str]:
    """Return the image files that `paths` name, those of folders sorted.

    Raises:
        InputError: a path does not exist, there is no image, or `output` would overwrite the input.
    """
    files: List[str] = []
    for path in paths:
        if os.path.isdir(path):
            files += image_files_of(path)
        elif os.path.isfile(path):
            files.append(path)
        else:
            raise InputError(f"--input {path}: there is no such file or folder.")
    if not files:
        raise InputError(f"--input {' '.join(paths)}: no image found; looked for {' '.join(IMAGE_EXTENSIONS)}")
    if os.path.realpath(output) in {os.path.realpath(os.path.dirname(file)) for file in files}:
        raise InputError(f"--output {output} is the folder of the input: drawings would overwrite photographs.")
    return files


def read_cfg(args: argparse.Namespace) -> CfgNode:
    """The config that `args` name; the network's own data need not be on this machine."""
    try:
        return setup_cfg(args)
    except DatasetError:  # what has to be known about them is in a run's config
        away = ["DATASETS.VOC_LAYOUT.ROOT", "", "DATASETS.COCO_JSON.TRAIN_JSON", "", "DATASETS.COCO_JSON.TEST_JSON", ""]
        return setup_cfg(argparse.Namespace(config_file=args.config_file, opts=[*args.opts, *away]))


def build_cfg(args: argparse.Namespace) -> CfgNode:
    """Build the config of the network to draw with: the trained one that ``--eval-only`` would take.

    Raises:
        ConfigError, DatasetError: the config cannot be used; the message says why.
    """
    cfg = read_cfg(args)
    find_trained_network(cfg, args)
    if not cfg.MODEL.WEIGHTS or missing_files(cfg.MODEL.WEIGHTS):
        raise ConfigError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} does not exist. Give the config.yaml of a finished run, or add "
            "MODEL.WEIGHTS <file> at the end of the command."
        )
    if cfg.MODEL.LOAD_PROPOSALS:
        raise ConfigError(
            f"{args.config_file} is of a detector that is given its proposals, such as step 2's, and photographs come "
            "without: give the config.yaml of the whole run, whose network makes its own."
        )
    if args.proposals > 0:
        configure_network(cfg, RPN)  # without RoI heads it gives proposals in the frame of the original image
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST = args.proposals
    return cfg


def class_names(cfg: CfgNode) -> List[str]:
    """Return the names of the network's classes; "class 3" where nobody knows them."""
    names = list(cfg.DATASETS.VOC_LAYOUT.CLASSES)
    for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        names = names or list(MetadataCatalog.get(dataset).get("thing_classes", []))
    return names or [f"class {index}" for index in range(cfg.MODEL.ROI_HEADS.NUM_CLASSES)]


def labelled_boxes(prediction: Dict[str, Any], names: List[str], threshold: float) -> List[LabelledBox]:
    """Turn a prediction into what is drawn, best first: detections with class and score, proposals by colour alone."""
    if "proposals" in prediction:
        proposals = prediction["proposals"].to("cpu")
        colors = matplotlib.colormaps["plasma"](torch.sigmoid(proposals.objectness_logits).numpy(), bytes=True)
        return [
            LabelledBox(box.tolist(), "", tuple(int(value) for value in color[:3]))
            for box, color in zip(proposals.proposal_boxes.tensor, colors)
        ]
    instances = prediction["instances"].to("cpu")
    instances = instances[instances.scores >= threshold]
    instances = instances[instances.scores.argsort(descending=True)]
    return [
        LabelledBox(box.tolist(), f"{names[label]} {score:.2f}", class_color(label))
        for box, label, score in zip(
            instances.pred_boxes.tensor, instances.pred_classes.tolist(), instances.scores.tolist()
        )
    ]


def build_predictor(cfg: CfgNode) -> DefaultPredictor:
    """Build detectron2's predictor, with weights of any file that this package reads, a .caffemodel for instance.

    Raises:
        CheckpointError: the weights cannot be read, or are not for this config.
    """
    without_weights = cfg.clone()
    without_weights.MODEL.WEIGHTS = ""
    predictor = DefaultPredictor(without_weights)
    SafeCheckpointer(predictor.model).load(cfg.MODEL.WEIGHTS)
    return predictor


def draw_batch(args: argparse.Namespace) -> int:
    """Draw the images of a saved batch with their objects, and say what is known of it.

    Raises:
        ConfigError: the file is no such batch.
    """
    cfg = read_cfg(args)
    batch, names = read_batch(args.batch), class_names(cfg)
    print(f"iteration {batch['iteration']}, losses {batch['losses']}, not finite: {batch['first_nonfinite']}")
    make_folder(args.output)
    for number, (pixels, objects, name) in enumerate(objects_of(batch)):
        image = pixels.clamp(0, 255).byte().permute(1, 2, 0).numpy()
        photograph = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1] if cfg.INPUT.FORMAT == "BGR" else image))
        boxes = [
            LabelledBox(box, names[label] if label < len(names) else f"class {label}", class_color(label))
            for box, label in objects
        ]
        target = os.path.join(args.output, f"{number}_{os.path.splitext(os.path.basename(name))[0]}.jpg")
        with replacing(target) as file:
            draw_boxes(photograph, boxes, long_side=max(800, *photograph.size)).save(file, "JPEG", quality=92)
        print(f"{target}: {name}, {len(boxes)} objects")
    return 0


def visualize(args: argparse.Namespace) -> int:
    """Draw on all images; returns the exit status, which is 1 if some could not be read."""
    if args.batch:
        return draw_batch(args)
    files = list_images(args.input, args.output)
    check_output_folder(args.output, "--output")
    cfg = build_cfg(args)
    predictor, names = build_predictor(cfg), class_names(cfg)
    make_folder(args.output)
    drawn: List[str] = []
    for file in files:
        try:
            image = read_image(file, format="BGR")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            print(f"skipped {file}: {error}", file=sys.stderr)
            continue
        prediction = predictor(image)
        boxes = labelled_boxes(prediction, names, args.confidence_threshold)
        stem = os.path.splitext(os.path.basename(file))[0]
        target = os.path.join(args.output, f"{stem}.jpg")
        if target in drawn:  # photo.jpg of two folders, or photo.jpg and photo.png
            target = os.path.join(args.output, f"{stem}_{len(drawn) + 1}.jpg")
        photograph = Image.fromarray(image[:, :, ::-1])
        with replacing(target) as file:
            draw_boxes(photograph, boxes, long_side=max(800, *photograph.size)).save(file, "JPEG", quality=92)
        drawn.append(target)
        print(f"{target}: {len(boxes)} {'proposals' if 'proposals' in prediction else 'detections'}")
    skipped = f", skipped {len(files) - len(drawn)}" if len(drawn) < len(files) else ""
    print(f"drew {len(drawn)} of {len(files)} images into {args.output}{skipped}")
    return 0 if len(drawn) == len(files) else 1


def main() -> None:
    arguments = parse_arguments()
    sys.exit(guarded(lambda: visualize(arguments)))


if __name__ == "__main__":
    main()
