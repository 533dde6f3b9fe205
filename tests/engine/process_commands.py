"""Commands that several processes run in tests; what they find and say goes into the folder that they are given."""

import json
import os
import signal
import sys
from pathlib import Path

from frcnn_alt.engine import ConfigError, default_argument_parser

import torch
from detectron2.utils import comm

TWO = ("--num-gpus", "2")


def arguments(folder, *words):
    """A command line whose functions write into `folder`."""
    return default_argument_parser().parse_args([*words, "FOLDER", str(folder)])


def own_folder(args):
    """The folder, where what this process says goes too."""
    folder = Path(args.opts[-1])
    sys.stderr = open(folder / "said", "a", buffering=1)  # noqa: SIM115
    return folder


def write_place(args):
    numbers = {"rank": comm.get_rank(), "local": comm.get_local_rank(), "size": comm.get_local_size()}
    about = {**numbers, "sum": sum(comm.all_gather(comm.get_rank() + 1)), "threads": torch.get_num_threads()}
    (own_folder(args) / f"{comm.get_rank()}.json").write_text(json.dumps(about))
    return 0


def make_a_mistake(args):
    own_folder(args)
    raise ConfigError("SOME.KEY is wrong")


def fail(args, rank, how):
    """One process fails, and the others wait for it in vain."""
    own_folder(args)
    if comm.get_rank() != rank:
        comm.synchronize()
    elif how == "raise":
        raise RuntimeError("this went wrong")
    elif how == "interrupt":
        raise KeyboardInterrupt
    elif how == "exit":
        sys.exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def places(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def train_while_an_image_breaks(args, images, output, image, what):
    """A miniature run in which an image vanishes at the second iteration of step 1."""
    from frcnn_alt.engine import StepTrainer

    from miniature import run, tiny_config

    own_folder(args)
    cfg = tiny_config(images, output, exact=True)
    cfg.DATALOADER.UNREADABLE_IMAGES = what
    cfg.SCHEDULE.STEP1.MAX_ITER = 8
    stock = StepTrainer.run_step

    def run_step(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith("step1_rpn") and trainer.iter == 1 and comm.is_main_process():
            os.rename(image, f"{image}.away")
        stock(trainer)

    StepTrainer.run_step = run_step
    run(cfg)
    return 0
