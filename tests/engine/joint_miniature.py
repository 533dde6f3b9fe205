"""Joint training in miniature: both nets at a fraction of their width, small images, three iterations."""

from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.engine import default_argument_parser

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DETECTOR, RPN = {"loss_cls", "loss_box_reg"}, {"loss_rpn_cls", "loss_rpn_loc"}
SMALL = [
    *("MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.06", "MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.DEVICE", "cpu"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32, 64]]", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "4"),
    *("INPUT.MIN_SIZE_TRAIN", "(84,)", "INPUT.MIN_SIZE_TEST", "84", "DATALOADER.NUM_WORKERS", "0"),
    *("SCHEDULE.STEP1.MAX_ITER", "3", "SCHEDULE.STEP1.STEPS", "(2,)", "SOLVER.MAX_ITER", "3"),
]


def small_config(net, *opts, kind="joint"):
    """The config <net>_<kind>.yaml in miniature, from random weights."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / f"{net}_{kind}.yaml"))
    cfg.merge_from_list([*SMALL, "MODEL.WEIGHTS", "", *opts])
    return cfg


def small_image(seed):
    """Noise with one object, as a dataset mapper gives it; `seed` is 1 to 20."""
    random = np.random.default_rng(seed)
    objects = Instances((84, 112))
    objects.gt_boxes = Boxes(torch.tensor([[20.0 + seed, 15.0, 65.0, 60.0]]))
    objects.gt_classes = torch.tensor([seed])
    image = torch.from_numpy(random.integers(0, 255, (3, 84, 112), dtype=np.uint8))
    return {"image": image, "instances": objects, "height": 84, "width": 112}


def losses_of(model, images):
    torch.manual_seed(5)
    with EventStorage(0):
        return model(images)


def gradients_of(model, loss):
    """{name: gradient} of the parameters that `loss` moves."""
    model.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def arguments(net, shapes, folder, *opts, flags=(), kind="joint"):
    """The command line of that run on the generated images in `shapes`, as tools/train_net.py parses it."""
    words = ["--config-file", str(CONFIGS / f"{net}_{kind}.yaml"), *flags, "OUTPUT_DIR", str(folder)]
    return default_argument_parser().parse_args([*words, "DATASETS.VOC_LAYOUT.ROOT", shapes, *SMALL, *opts])
