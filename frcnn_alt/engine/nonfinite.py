"""What happens to an iteration whose loss or gradient is NaN or infinite: it changes no weight, and has an address.

By default the training stops with one sentence: iteration, images, the first tensor that was not finite, what to do.
With SOLVER.NONFINITE_SKIPS n up to n of them in a row are passed over, without a trace in weights and momentum.

The check costs no waiting of its own. detectron2 reads every loss each iteration, after the backward pass, and waits
for the device there; here the losses and the norm of the gradients are read just before, in one copy more. With several
processes that one answer is agreed on, so that all of them stop, or skip, together.

With mixed precision (SOLVER.AMP) the GradScaler itself leaves out steps whose gradients overflowed, and it has to see
them: such iterations count as good, unless they do not end.
"""

import contextlib
import functools
import logging
import os
import weakref
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from ..checkpointing import SafeCheckpointer
from .nonfinite_walk import first_nonfinite, first_nonfinite_weight, is_updated_norm
from .saved_batch import image_names, save_batch

__all__ = ["FiniteGuard", "NonFiniteError"]

logger = logging.getLogger(__name__)

# The scaler halves its scale at each overflow: from 2^16 down to one that no finite gradient of use overflows with.
_OVERFLOWS_IN_A_ROW = 32
_IMAGES_NAMED = 4
# What is said where no loss of this process is not finite: whether its gradients are not.
_UNNAMED = {True: "a gradient is not finite, though the loss is", False: "a loss of another process is not finite"}


class NonFiniteError(RuntimeError):
    """A training has met NaN or infinity; the message says where, in which images, and what to do."""


class FiniteGuard:
    """Looks at losses and gradients before the optimizer does.

    Args:
        training: detectron2's inner trainer, whose `_write_metrics` comes between backward pass and optimizer; its
            losses reach the metrics only when they are finite.
        model: without DistributedDataParallel.
        checkpointer: says what the last checkpoint is; writes no weights that are not finite from now on.
        skips: SOLVER.NONFINITE_SKIPS.
        learning_rate: the key that sets it.
        name_images: iteration -> the names of this process's images, for batches that do not tell.

    Attributes:
        skipped: how many iterations were passed over, those before a resume included.
    """

    def __init__(
        self,
        training: SimpleTrainer,
        model: nn.Module,
        checkpointer: SafeCheckpointer,
        *,
        skips: int,
        learning_rate: str = "SOLVER.BASE_LR",
        name_images: Optional[Callable[[int], List[str]]] = None,
    ):
        self.training = weakref.proxy(training)
        self.model = model
        self.checkpointer = weakref.proxy(checkpointer)
        self.skips = skips
        self.learning_rate = learning_rate
        self.skipped = 0
        self._in_a_row = 0
        self._overflows = 0
        self._name_images = name_images
        self._inputs: Any = None
        self._kept: List[Tuple[torch.Tensor, torch.Tensor]] = []
        self._iteration, self._seed = 0, 0
        self.name = os.path.basename(os.path.normpath(checkpointer.save_dir))
        # No reference back to what holds this: a step's network is to be freed when its trainer is.
        remember = weakref.WeakMethod(self._remember)
        model.register_forward_pre_hook(lambda _, inputs: remember()(inputs) if remember() else None)
        checkpointer.before_save = self.check_weights
        training._write_metrics = functools.partial(self._write_metrics, type(training)._write_metrics)

    def state_dict(self) -> Dict[str, int]:
        """What a resumed training has to know to skip, or stop, where this one would."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row, "overflows": self._overflows}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore what `state_dict` returned."""
        self.skipped, self._in_a_row = state.get("skipped", 0), state.get("in_a_row", 0)
        self._overflows = state.get("overflows", 0)

    def _remember(self, inputs: Tuple[Any, ...]) -> None:
        self._inputs = inputs[0] if inputs else None
        # Norms gather statistics in the forward pass: what a skipped batch has put into them is taken back.
        norms = [module for module in self.model.modules() if is_updated_norm(module)] if self.skips else []
        self._kept = [(buffer, buffer.detach().clone()) for norm in norms for buffer in norm.buffers()]

    @contextlib.contextmanager
    def iteration(self, iteration: int, seed: int) -> Iterator[None]:
        """Around one iteration; `seed` is what all of it was drawn from.

        Raises:
            NonFiniteError: it is not finite, and no more may be skipped.
        """
        self._iteration, self._seed = iteration, seed
        try:
            yield
        except FloatingPointError as error:  # of a forward pass that does not get as far as the losses
            if comm.get_world_size() > 1:  # the others wait for this process's gradients: it ends, and they with it
                raise self._error(str(error), {}, gradients=False, agreed=False) from error
            self._skip_or_stop(str(error), {}, gradients=False)
        finally:
            self._inputs, self._kept = None, []

    def allows_step(self, losses: Mapping[str, torch.Tensor]) -> bool:
        """Whether the optimizer may use the gradients; if not, they have been taken away from it.

        Args:
            losses: of this process, after the backward pass. All processes have to call this.

        Raises:
            NonFiniteError: see `iteration`.
        """
        with torch.no_grad():
            gradients = self._gradients()
            total = sum(loss.detach().float() for loss in losses.values())
            norms = torch._foreach_norm(gradients) if gradients else []  # as clip_grad_norm_ has it, and as fast
            norm = torch.stack([norm.float() for norm in norms]).sum() if norms else torch.zeros_like(total)
            finite = torch.stack([total.isfinite(), norm.isfinite().to(total.device)]).int()
            if comm.get_world_size() > 1:
                torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
            losses_are, gradients_are = (bool(value) for value in finite.tolist())
            if not gradients_are:  # or are they so large that only their squares overflow?
                gradients_are = all(bool(gradient.isfinite().all()) for gradient in gradients)
        if losses_are and gradients_are:
            self._in_a_row = self._overflows = 0
            return True
        if losses_are and self._scaler() is not None:
            self._overflows += 1
            if self._overflows < _OVERFLOWS_IN_A_ROW:
                return True  # it is the scaler's to see that they overflowed
        bad = [f"{name} is {loss.item()}" for name, loss in losses.items() if not bool(loss.detach().isfinite())]
        what = "" if losses_are else ", ".join(bad)
        self._skip_or_stop(what, losses, gradients=losses_are)
        return False

    def _write_metrics(
        self, stock: Callable[..., None], losses: Mapping[str, torch.Tensor], *args: Any, **kwargs: Any
    ) -> None:
        """What stands for detectron2's `_write_metrics`, `stock`: it sees finite losses only."""
        if self.allows_step(losses):
            stock(self.training, losses, *args, **kwargs)
        if self.skips:
            get_event_storage().put_scalar("nonfinite_skips", self.skipped, smoothing_hint=False)

    def check_weights(self) -> None:
        """Before a checkpoint takes the place of the last: weights may overflow in the very step of finite gradients.

        Raises:
            NonFiniteError: a parameter or a norm's statistics are not finite.
        """
        where = first_nonfinite_weight(self.model)
        if where:
            raise NonFiniteError(
                f"{self.name}: after iteration {self._iteration} the weights are not finite, first of all {where}. "
                f"Nothing was written; {self._what_is_left()}: lower {self.learning_rate}, or clip gradients "
                "(SOLVER.CLIP_GRADIENTS.ENABLED True)."
            )

    def _gradients(self) -> List[torch.Tensor]:
        groups = self.training.optimizer.param_groups
        return [parameter.grad for group in groups for parameter in group["params"] if parameter.grad is not None]

    def _scaler(self) -> Any:
        return getattr(self.training, "grad_scaler", None)

    def _skip_or_stop(self, what: str, losses: Mapping[str, torch.Tensor], *, gradients: bool) -> None:
        self._in_a_row += 1
        if self._in_a_row > self.skips:
            raise self._error(what, losses, gradients=gradients)
        self.skipped += 1
        for buffer, kept in self._kept:
            buffer.copy_(kept)
        if self._scaler() is None or not self._gradients():
            self.training.optimizer.zero_grad(set_to_none=True)  # an optimizer touches nothing that has no gradient
        else:  # a scaler leaves out what overflows, and does not go without gradients
            self._gradients()[0].fill_(float("inf"))
        logger.warning(
            "Iteration %d is skipped, the %d. of at most %d in a row: %s. Images: %s.",
            self._iteration,
            self._in_a_row,
            self.skips,
            what or _UNNAMED[gradients],
            self._images(),
        )

    def _names(self) -> List[str]:
        return self._name_images(self._iteration) if self._name_images else image_names(self._inputs)

    def _images(self) -> str:
        names = self._names()
        more = f" and {len(names) - _IMAGES_NAMED} more" if len(names) > _IMAGES_NAMED else ""
        return (", ".join(names[:_IMAGES_NAMED]) or "not known") + more

    def _what_is_left(self) -> str:
        if not self.checkpointer.has_checkpoint():
            return "there is no checkpoint yet to go on from, so begin anew"
        return f"the last checkpoint, {self.checkpointer.get_checkpoint_file()}, is from before"

    def _how_to_skip(self, agreed: bool) -> str:
        if not agreed:  # one process stopped in its forward pass, and the others wait for it
            return "with several processes it cannot be skipped: use one, or take the image out"
        return f"--resume with SOLVER.NONFINITE_SKIPS {max(2 * self.skips, 1)} passes over such iterations"

    def _error(
        self, what: str, losses: Mapping[str, torch.Tensor], *, gradients: bool, agreed: bool = True
    ) -> NonFiniteError:
        """Save this process's batch and walk it once more; say what all processes found if all are here (`agreed`)."""
        precision = getattr(self.training, "precision", torch.float16) if self._scaler() is not None else None
        where = first_nonfinite(self.model, self._inputs, self._seed, gradients=gradients, precision=precision)
        several = comm.get_world_size() > 1
        rank = f"_process{comm.get_rank()}" if several else ""
        path = os.path.join(self.checkpointer.save_dir, f"nonfinite_batch_{self._iteration:07d}{rank}.pth")
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        about = {"iteration": self._iteration, "seed": self._seed, "losses": values, "first_nonfinite": where}
        save_batch(path, self._inputs, self._names(), about)
        text = (
            f"{what or _UNNAMED[gradients]}. Images: {self._images()}. "
            f"The first tensor that is not finite: {where or 'none, when the batch was walked once more'}. "
            f"The batch is in {path}"
        )
        culprit, text = bool(what or where), f"process {comm.get_rank()}: {text}" if several else text
        if several and agreed:
            found = comm.all_gather((culprit, text))
            text = next((text for is_culprit, text in found if is_culprit), text)
        return NonFiniteError(
            f"{self.name}, iteration {self._iteration}: {text}; {self._what_is_left()}. Lower {self.learning_rate}, "
            "clip gradients (SOLVER.CLIP_GRADIENTS.ENABLED True), or look at the batch (tools/visualize.py --batch); "
            f"{self._how_to_skip(agreed)}."
        )
