"""What stands still while a step trains: whole components, parameters by name, and their normalisation layers.

A frozen parameter gets no gradient and is not in the optimizer, so that neither weight decay nor momentum moves it; in
front of the first trained parameter autograd builds no graph. What a normalisation layer measures is no parameter, and
moves in training mode; under a frozen module such layers are therefore kept in evaluation mode.
"""

import re
from typing import List, Sequence

from detectron2.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["freeze", "hold_frozen_norms"]


def freeze(model: nn.Module, cfg: CfgNode) -> None:
    """Freeze what MODEL.FREEZE_COMPONENTS and MODEL.FREEZE_PATTERNS name, by ``requires_grad``.

    Raises:
        ValueError: the model has no such submodule; a pattern is no regular expression. That a pattern fits nothing is
            no mistake of one network: it may be meant for another step's.
    """
    _freeze_components(model, cfg.MODEL.FREEZE_COMPONENTS)
    _freeze_patterns(model, cfg.MODEL.FREEZE_PATTERNS)


def _freeze_components(model: nn.Module, components: Sequence[str]) -> None:
    for component in components:
        try:
            module = model.get_submodule(component)
        except AttributeError as error:
            have = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"MODEL.FREEZE_COMPONENTS: this model has no {component!r}; it has {have}, and what is in them."
            ) from error
        module.requires_grad_(False)


def _freeze_patterns(model: nn.Module, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        try:
            fits = re.compile(pattern).search
        except re.error as error:
            raise ValueError(f"MODEL.FREEZE_PATTERNS: {pattern!r} is no regular expression: {error}.") from error
        for name, parameter in model.named_parameters():
            if fits(name):
                parameter.requires_grad = False


def hold_frozen_norms(model: nn.Module) -> List[nn.Module]:
    """Put normalisation layers whose parameters are all frozen into evaluation mode; to be repeated after ``train()``.

    Layers without parameters of their own are held if they lie in a module all of whose parameters are frozen.

    Returns:
        The layers.
    """
    held: List[nn.Module] = []
    _hold(model, False, held)
    return held


def _hold(module: nn.Module, inside_frozen: bool, held: List[nn.Module]) -> None:
    parameters = list(module.parameters())
    frozen = not any(parameter.requires_grad for parameter in parameters) if parameters else inside_frozen
    if frozen and isinstance(module, _NormBase):
        module.eval()
        held.append(module)
    for child in module.children():
        _hold(child, frozen, held)
