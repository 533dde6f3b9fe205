"""Which tensor of a forward and backward pass is the first that is not finite: the pass is walked once more to see.

With the same batch, weights and seed the pass draws the same anchors, regions and dropout as it did. What comes first
is looked at first: weights, the batch, the output of each module in the order in which they finish, the losses, and
last the gradients in the order in which the backward pass brings them.
"""

import contextlib
import re
from typing import Any, Iterator, List, Optional, Tuple

import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["first_nonfinite", "first_nonfinite_weight", "is_updated_norm"]


def is_updated_norm(module: nn.Module) -> bool:
    """Whether a module is a norm that gathers statistics in the forward pass now."""
    return isinstance(module, _NormBase) and module.training and module.track_running_stats


def _is_bad(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.detach().isfinite().all())


def _kind(tensor: torch.Tensor) -> str:
    values = tensor.detach()
    nan, infinite = int(values.isnan().sum()), int(values.isinf().sum())
    return f"{nan} NaN and {infinite} infinite of {values.numel()} values"


def _tensors(value: Any, name: str = "") -> Iterator[Tuple[str, torch.Tensor]]:
    """Every tensor in what a module returns or is given, with where it stands in it."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (Boxes, ImageList)):
        yield name, value.tensor
    elif isinstance(value, Instances):
        yield from _tensors(value.get_fields(), name)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _tensors(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for place, one in enumerate(value):
            yield from _tensors(one, f"{name}[{place}]")


def first_nonfinite_weight(model: nn.Module) -> Optional[str]:
    """Name the first parameter, or statistic of a norm, that is not finite; None if all are."""
    for name, parameter in model.named_parameters():
        if _is_bad(parameter):
            return f"the parameter {name} ({_kind(parameter)})"
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if isinstance(module, _NormBase) and _is_bad(buffer):
                return f"the buffer {prefix}.{name} ({_kind(buffer)})"
    return None


class _Watch:
    """Hooks on every module and parameter; `found` is the first thing that was not finite."""

    def __init__(self, model: nn.Module):
        self.found: Optional[str] = None
        self._handles: List[Any] = []
        for name, module in model.named_modules():
            self._handles.append(module.register_forward_hook(self._hook(name, module)))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self._handles.append(parameter.register_hook(self._gradient_hook(name)))

    def _hook(self, name: str, module: nn.Module) -> Any:
        def look(_: nn.Module, inputs: Any, output: Any) -> None:
            if self.found:
                return
            for key, tensor in _tensors(output):
                if _is_bad(tensor):
                    loss = re.search(r"\bloss\w*", key)
                    what = f"{loss.group()}, a loss of" if loss else "the output of"
                    where = f"{name} ({type(module).__name__})" if name else f"the {type(module).__name__}"
                    self.found = f"{what} {where} ({_kind(tensor)})"
                    return

        return look

    def _gradient_hook(self, name: str) -> Any:
        def look(gradient: torch.Tensor) -> None:
            if not self.found and _is_bad(gradient):
                self.found = f"the gradient of {name} ({_kind(gradient)})"

        return look

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def first_nonfinite(
    model: nn.Module, inputs: Any, seed: int, *, gradients: bool, precision: Optional[torch.dtype] = None
) -> Optional[str]:
    """Name the first tensor that is not finite; None if all are.

    Args:
        model: in training mode, without DistributedDataParallel. Its buffers are as before afterwards, its gradients
            are not.
        inputs: what it was given in the iteration.
        seed: of the iteration.
        gradients: walk the backward pass too.
        precision: of autocast, None for none.
    """
    weight = first_nonfinite_weight(model)
    if weight:
        return weight
    for name, buffer in model.named_buffers():
        if _is_bad(buffer):
            return f"the buffer {name} ({_kind(buffer)})"
    for name, tensor in _tensors(inputs):
        if _is_bad(tensor):
            return f"the batch itself, {name} ({_kind(tensor)})"
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    device = next(model.parameters()).device
    watch = _Watch(model)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            mode = torch.autocast(device.type, precision) if precision else contextlib.nullcontext()
            # Modules may refuse numbers that are not finite, in many ways; what came before has been seen by then.
            with contextlib.suppress(Exception), torch.enable_grad():
                with mode:
                    losses = model(inputs)
                if gradients and not watch.found:
                    sum(losses.values()).backward()
    finally:
        watch.remove()
        for buffer, before in buffers:
            buffer.copy_(before)
    return watch.found
