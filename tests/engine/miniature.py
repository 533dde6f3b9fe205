"""A 4-step run in miniature: generated images, both backbones at a fraction of their width, a few iterations."""

import json
import os
import shutil
from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import hash_tensors, read_checkpoint
from frcnn_alt.data import register_datasets
from frcnn_alt.engine import AlternatingTrainer, StepTrainer

import pytest
import torch

CONFIGS = os.path.join(os.path.dirname(__file__), "..", "..", "configs")
STEPS = ["step1_rpn", "step2_fast_rcnn", "step3_rpn", "step4_fast_rcnn"]


def tiny_config(shapes_root, output_dir, net="ZF", weights="", exact=False):
    """`exact` keeps it on the CPU: on a GPU two runs of the same agree in the last bits only by chance."""
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(CONFIGS, f"Base-RCNN-{net}.yaml"))
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() and not exact else "cpu"
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 0.06
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32, 64]]
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 4
    cfg.MODEL.WEIGHTS = weights
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (84,), 84
    cfg.DATASETS.VOC_LAYOUT.ROOT = shapes_root
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.SEED = 3
    cfg.OUTPUT_DIR = str(output_dir)
    for number in range(1, 5):
        step = cfg.SCHEDULE[f"STEP{number}"]
        step.MAX_ITER, step.STEPS, step.IMS_PER_BATCH = 4, (3,), 2
    register_datasets(cfg)
    return cfg


def run(cfg, resume=False):
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    return AlternatingTrainer(cfg, resume=resume).train()


def six_iterations(shapes_root, output_dir):
    """The exact miniature with steps of 6 iterations."""
    cfg = tiny_config(shapes_root, output_dir, exact=True)
    for number in range(1, 5):
        cfg.SCHEDULE[f"STEP{number}"].MAX_ITER = 6
    return cfg


def interrupt_at(monkeypatch, step, iteration):
    """Make training stop as by Ctrl-C before an iteration of one step; "" is any step."""
    stock = StepTrainer.run_step

    def run_step(trainer):
        if trainer.cfg.OUTPUT_DIR.endswith(step) and trainer.iter == iteration:
            raise KeyboardInterrupt
        stock(trainer)

    monkeypatch.setattr(StepTrainer, "run_step", run_step)


def run_until(cfg, step, iteration, *, resume=False):
    """Run until such an interruption, which is over then."""
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(KeyboardInterrupt):
        interrupt_at(monkeypatch, step, iteration)
        run(cfg, resume=resume)


def weights_of(output_dir, step):
    return read_checkpoint(os.path.join(str(output_dir), step, "model_final.pth"))["model"]


def write_initial_weights(cfg, path):
    """What pre-training leaves: backbone and fc6, fc7 under the detector's names, and its command."""
    from frcnn_alt.modeling.classifier import BackboneClassifier

    torch.manual_seed(11)
    model = BackboneClassifier(cfg, num_classes=3).detector_state_dict()
    torch.save({"model": model, "frcnn_alt": {"command": ["tools/pretrain_backbone.py", "SEED", "11"]}}, path)


def final_hash(cfg):
    return hash_tensors(read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"])


def another(whole, folder, steps, **keys):
    """The config `whole` in another folder, with some steps only, and without its file of initial weights."""
    cfg = whole.clone()
    cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS, cfg.SCHEDULE.RUN_ONLY = str(folder / "run"), "gone/initial.pth", steps
    for key, value in keys.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def states(cfg):
    """Of a run's steps, as its manifest has them."""
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        return [step["state"] for step in json.load(file)["steps"]]


def moved_run(cfg, folder):
    """A copy of a run, at `folder`, as if there were none at the old place any more."""
    shutil.copytree(cfg.OUTPUT_DIR, folder)
    manifest = Path(folder) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(cfg.OUTPUT_DIR, str(folder)))
    return str(folder)


def weights_in(folder, step):
    return os.path.join(str(folder), step, "model_final.pth")


def problems_of(cfg, resume=True):
    return AlternatingTrainer(cfg, resume=resume).plan().problems
