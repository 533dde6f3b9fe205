"""A 4-step miniature run of which all is written down: what each step began with, saw, and did to each tensor.

Naming convention: a state is a dict from parameter (or buffer) names to tensors.
"""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

from frcnn_alt.engine import StepTrainer

import torch
from miniature import run, tiny_config, write_initial_weights

State = Dict[str, torch.Tensor]


@dataclass
class RecordedStep:
    """One step; lists have one entry an iteration.

    Attributes:
        began: the model's state when training begins.
        batches: what the model was given.
        gradients: of the parameters that have one.
        weights: all parameters after the iteration.
        rates: learning rate of each parameter that the optimizer holds.
        decays: its weight decay.
        momenta: its momentum.
        regions: of a Fast R-CNN step, image by image, the sampled regions as (image_id, Instances).
    """

    cfg: Any = None
    began: State = field(default_factory=dict)
    batches: List[List[Dict[str, Any]]] = field(default_factory=list)
    gradients: List[State] = field(default_factory=list)
    weights: List[State] = field(default_factory=list)
    rates: List[Dict[str, float]] = field(default_factory=list)
    decays: Dict[str, float] = field(default_factory=dict)
    momenta: Dict[str, float] = field(default_factory=dict)
    regions: List[Tuple[str, Any]] = field(default_factory=list)


def _copy(named_tensors) -> State:
    return {name: value.detach().cpu().clone() for name, value in named_tensors if value is not None}


def _of_groups(trainer, key: str) -> Dict[str, float]:
    names = {parameter: name for name, parameter in trainer.unwrapped_model.named_parameters()}
    return {names[p]: group[key] for group in trainer._trainer.optimizer.param_groups for p in group["params"]}


def record_run(cfg, monkeypatch) -> Dict[str, RecordedStep]:
    """Run `cfg` and return what happened, by step name."""
    steps: Dict[str, RecordedStep] = defaultdict(RecordedStep)
    stock_train, stock_run_step = StepTrainer.train, StepTrainer.run_step

    def train(trainer):
        step, model = steps[os.path.basename(trainer.cfg.OUTPUT_DIR)], trainer.unwrapped_model
        step.cfg = trainer.cfg
        step.began = _copy(model.state_dict().items())
        step.decays, step.momenta = _of_groups(trainer, "weight_decay"), _of_groups(trainer, "momentum")
        seen = model.register_forward_pre_hook(lambda _, inputs: step.batches.append(inputs[0]))
        if hasattr(model, "roi_heads"):
            sample = model.roi_heads.label_and_sample_proposals

            def recorded(proposals, targets):
                sampled = sample(proposals, targets)
                step.regions += zip([image["image_id"] for image in step.batches[-1]], sampled)
                return sampled

            model.roi_heads.label_and_sample_proposals = recorded
        stock_train(trainer)
        seen.remove()

    def run_step(trainer):
        step, model = steps[os.path.basename(trainer.cfg.OUTPUT_DIR)], trainer.unwrapped_model
        step.rates.append(_of_groups(trainer, "lr"))
        stock_run_step(trainer)
        step.gradients.append(_copy((name, p.grad) for name, p in model.named_parameters()))
        step.weights.append(_copy(model.named_parameters()))

    monkeypatch.setattr(StepTrainer, "train", train)
    monkeypatch.setattr(StepTrainer, "run_step", run_step)
    run(cfg)
    return dict(steps)


def recorded_config(shapes, folder, net="ZF", **values):
    """A miniature whose images per batch are the paper's, with initial weights and with limits that tell apart.

    Learning rates are large and rise from step to step, so that what an iteration does to a tensor is seen and no
    two steps can be taken for each other. Proposals of flipped images are mirrored: one set an image.
    """
    weights = str(folder / "initial.pth")
    cfg = tiny_config(shapes, folder / "run", net, weights)
    write_initial_weights(cfg, weights)
    for number, (images, iterations) in enumerate([(1, 4), (2, 5), (1, 6), (2, 7)], start=1):
        step = cfg.SCHEDULE[f"STEP{number}"]
        step.IMS_PER_BATCH, step.MAX_ITER, step.STEPS = images, iterations, (iterations - 2,)
        step.BASE_LR = 0.001 * number
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20, 5  # of the final network alone
    cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = "mirrored"
    for key, value in values.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg
