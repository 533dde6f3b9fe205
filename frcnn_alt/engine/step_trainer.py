"""Training of one config: detectron2's DefaultTrainer with seeded batches, exact resume and frozen components.

What differs from DefaultTrainer: iteration i draws the same batch, flips, anchors, RoIs and dropout whatever ran
before; checkpoints are written atomically and hold the optimizer, which detectron2 0.6 forgets;
what is frozen is so before the optimizer is built, which then holds only what is trained.
"""

import logging
import os
import weakref
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase
from detectron2.engine.hooks import EvalHook, PeriodicWriter
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.utils.data import DataLoader

from ..checkpointing import SafeCheckpointer, checkpoint_to_resume, read_checkpoint
from ..data import build_train_loader, load_training_dicts, seed_for
from ..proposals import ProposalDatasetMapper, ProposalSet
from ..safe_write import make_folder
from .class_checks import record_of_classes
from .evaluates import Evaluates
from .freezing import freeze, hold_frozen_norms
from .hooks import NewestCheckpointer
from .loss_weights import loss_weights, weigh_losses
from .nonfinite import FiniteGuard
from .periodic_evaluation import with_periodic_evaluation
from .stopping import StopRequest, StopTraining, stops_after_iteration
from .writers import naming_writers

__all__ = ["StepTrainer", "build_step_model"]

logger = logging.getLogger(__name__)


def build_step_model(cfg: CfgNode) -> nn.Module:
    """Build the model of `cfg` with what MODEL.FREEZE_COMPONENTS and FREEZE_PATTERNS name frozen."""
    model = build_model(cfg)
    freeze(model, cfg)
    return model


class StepTrainer(Evaluates, DefaultTrainer):
    """Trains the model of one config on its DATASETS.TRAIN; with TEST.EVAL_PERIOD evaluates it meanwhile.

    Args:
        cfg: a detectron2 config; with MODEL.LOAD_PROPOSALS its DATASETS.PROPOSAL_FILES_TRAIN are proposal sets.
        seed: of this training; all that is drawn follows from it and the iteration.
        initialize: called with the new model when no checkpoint is resumed: loads weights, sets statistics.
        resume: go on from the last checkpoint in cfg.OUTPUT_DIR if there is one and it is as it was written.
        extra_hooks: run before the writers of metrics.
        flipped_proposal_files: with MODEL.LOAD_PROPOSALS, the proposal sets of flipped images of DATASETS.TRAIN, in its
            order; without them, flipped images have the proposals of the images, mirrored.
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        seed: int,
        initialize: Optional[Callable[[nn.Module], None]] = None,
        resume: bool = False,
        extra_hooks: Optional[List[HookBase]] = None,
        flipped_proposal_files: Sequence[str] = (),
    ):
        self.seed = seed
        self._flipped_proposal_files = tuple(flipped_proposal_files)
        checkpoint = checkpoint_to_resume(cfg.OUTPUT_DIR) if resume else ""
        self.first_iteration = read_checkpoint(checkpoint)["iteration"] + 1 if checkpoint else 0
        self._extra_hooks = extra_hooks or []
        make_folder(cfg.OUTPUT_DIR)
        torch.manual_seed(seed_for(seed))  # the Gaussian of new layers
        super().__init__(cfg)
        self.guard = FiniteGuard(
            self._trainer, self.unwrapped_model, self.checkpointer, skips=cfg.SOLVER.NONFINITE_SKIPS
        )
        if self.first_iteration > 0:
            self.checkpointer.resume_or_load("", resume=True)
            self.start_iter = self.first_iteration
        elif initialize is not None:
            initialize(self.unwrapped_model)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without DistributedDataParallel around it."""
        return self.checkpointer.model

    def build_model(self, cfg: CfgNode) -> nn.Module:
        """Build the model with its frozen components; called before the optimizer is built."""
        model = build_step_model(cfg)
        weigh_losses(model, loss_weights(cfg))
        return model

    def build_train_loader(self, cfg: CfgNode) -> DataLoader:
        """Build the loader whose batches follow from the seed and the iteration."""
        dicts = load_training_dicts(cfg)
        if cfg.MODEL.LOAD_PROPOSALS:
            sets = dict(zip(cfg.DATASETS.TRAIN, map(ProposalSet, cfg.DATASETS.PROPOSAL_FILES_TRAIN)))
            flipped_sets = dict(zip(cfg.DATASETS.TRAIN, map(ProposalSet, self._flipped_proposal_files)))
            mapper = ProposalDatasetMapper(
                cfg, is_train=True, proposal_sets=sets, flipped_proposal_sets=flipped_sets or None
            )
        else:
            from detectron2.data import DatasetMapper

            mapper = DatasetMapper(cfg, is_train=True)
        return build_train_loader(cfg, dicts, mapper, seed=self.seed, start_iteration=self.first_iteration)

    def build_hooks(self) -> List[HookBase]:
        """detectron2's hooks with the safe checkpointer; evaluated is as `PeriodicEvaluation` says, not at the end."""
        self.checkpointer = SafeCheckpointer(self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        if hasattr(self.unwrapped_model, "roi_heads"):
            self.checkpointer.record = record_of_classes(self.cfg)
        self._writers: List[EventWriter] = []
        hooks = [NewestCheckpointer.in_place_of(hook) for hook in super().build_hooks()]
        self._stop_request = StopRequest()
        checkpoints = next((hook for hook in hooks if isinstance(hook, NewestCheckpointer)), None)
        stop = StopTraining(self._stop_request, os.path.basename(os.path.normpath(self.cfg.OUTPUT_DIR)), checkpoints)
        hooks.insert(next(place for place, hook in enumerate(hooks) if isinstance(hook, EvalHook)), stop)
        hooks = with_periodic_evaluation(hooks, self, self._writers)
        writers = [hook for hook in hooks if isinstance(hook, PeriodicWriter)]
        return [hook for hook in hooks if hook not in writers] + self._extra_hooks + writers

    def build_writers(self) -> List[EventWriter]:
        """detectron2's writers of metrics; called on the main process."""
        self._writers += naming_writers(self.cfg.OUTPUT_DIR, super().build_writers)
        return self._writers

    def train(self) -> None:
        """Train from the first iteration to the last; TEST.EXPECTED_RESULTS are not checked.

        Raises:
            Stopped: SIGINT or SIGTERM came; there is a checkpoint of the iteration in which it did.
        """
        with stops_after_iteration(self._stop_request):
            TrainerBase.train(self, self.start_iter, self.max_iter)

    def run_step(self) -> None:
        """One iteration; anchors, RoIs and dropout are drawn from the seed, the iteration and the process's rank."""
        seed = seed_for(self.seed, self.iter, comm.get_rank())
        torch.manual_seed(seed)
        hold_frozen_norms(self.model)
        with self.guard.iteration(self.iter, seed):
            super().run_step()

    def state_dict(self) -> Dict[str, Any]:
        """What a checkpoint holds besides the model; the optimizer too, which detectron2 0.6 leaves out."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict(), "guard": self.guard.state_dict()}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.guard.load_state_dict(state_dict.get("guard", {}))
        self._trainer.load_state_dict(state_dict["_trainer"])  # once more than needed on detectron2 main
