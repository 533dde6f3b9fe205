"""Which tensor of a model starts from where: the hand-over of weights between steps, component by component.

A component is a prefix of parameter names ("backbone", "proposal_generator", "roi_heads",
"roi_heads.box_predictor"). Its source is "new" (keep what the constructor made: the Gaussian of SPEC 4.1 and 5.3) or
the name of a state dict. The longest prefix that fits a tensor's name decides.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Callable, Container, Dict, Iterable, List, Mapping

import torch
from torch import nn

from .errors import CheckpointError

__all__ = [
    "NEW",
    "InitialWeights",
    "hash_tensors",
    "load_initial_weights",
    "match_initial_weights",
    "names_from",
    "select_components",
]

NEW = "new"


@dataclass
class InitialWeights:
    """What `match_initial_weights` found, by tensor name.

    Attributes:
        source: tensor name -> the source it is taken from ("new" included).
        not_found: source -> names of the tensors it should have held and does not; they stay new.
    """

    source: Dict[str, str] = field(default_factory=dict)
    not_found: Dict[str, List[str]] = field(default_factory=dict)


def _is_in(name: str, component: str) -> bool:  # "" is the whole model
    return not component or name == component or name.startswith(component + ".")


def select_components(state: Mapping[str, torch.Tensor], components: Iterable[str]) -> Dict[str, torch.Tensor]:
    """Return the tensors of `state` whose names lie under one of `components`."""
    components = tuple(components)
    return {name: value for name, value in state.items() if any(_is_in(name, c) for c in components)}


def _component_of(name: str, components: Iterable[str]) -> str:
    fitting = [component for component in components if _is_in(name, component)]
    return max(fitting, key=len) if fitting else ""


def names_from(source: str, model_state: Mapping[str, torch.Tensor], init: Mapping[str, str]) -> List[str]:
    """Return the names of `model_state` that `init` (component -> source) takes from `source`."""
    return [name for name in model_state if init.get(_component_of(name, init), NEW) == source]


def match_initial_weights(
    model_state: Mapping[str, torch.Tensor],
    init: Mapping[str, str],
    read_source: Callable[[str], Mapping[str, torch.Tensor]],
    may_be_missing: Container[str] = (),
) -> InitialWeights:
    """Decide for every tensor of a model where it starts from; nothing is copied.

    Args:
        model_state: the model's state dict (tensors of any device, "meta" included: only shapes are read).
        init: component -> source.
        read_source: gives a source's state dict; called once a source.
        may_be_missing: components that start new where their source holds nothing of them.

    Raises:
        CheckpointError: a tensor has another shape than the model's, or a source holds nothing of another component.
    """
    matched = InitialWeights()
    states = {source: read_source(source) for source in sorted(set(init.values()) - {NEW})}
    for name, value in model_state.items():
        source = init.get(_component_of(name, init), NEW)
        if source == NEW:
            matched.source[name] = NEW
        elif name not in states[source]:
            matched.source[name] = NEW
            matched.not_found.setdefault(source, []).append(name)
        elif states[source][name].shape != value.shape:
            raise CheckpointError(
                f"{name} has shape {tuple(states[source][name].shape)} in {source}, but the model of this config needs "
                f"{tuple(value.shape)}: they were made for different architectures or numbers of classes."
            )
        else:
            matched.source[name] = source
    for component, source in init.items():
        names = [name for name in model_state if _component_of(name, init) == component]
        is_missing = bool(names) and not any(matched.source[name] == source for name in names)
        if source != NEW and is_missing and component not in may_be_missing:
            raise CheckpointError(
                f"{source} holds no tensor of {component} (looked for {names[0]} and {len(names) - 1} more). "
                "Parameter names must be those of this package. Of other programs, the .caffemodel files of ZF-net and "
                "VGG-16 and of their detectors can be read, and torchvision's vgg16."
            )
    return matched


def load_initial_weights(
    model: nn.Module,
    init: Mapping[str, str],
    read_source: Callable[[str], Mapping[str, torch.Tensor]],
    may_be_missing: Container[str] = (),
) -> InitialWeights:
    """Copy each component's initial weights into `model`; arguments and errors as in `match_initial_weights`."""
    model_state = model.state_dict()
    cache: Dict[str, Mapping[str, torch.Tensor]] = {}

    def read_once(source: str) -> Mapping[str, torch.Tensor]:
        if source not in cache:
            cache[source] = read_source(source)
        return cache[source]

    matched = match_initial_weights(model_state, init, read_once, may_be_missing)
    with torch.no_grad():
        for name, source in matched.source.items():
            if source != NEW:
                model_state[name].copy_(cache[source][name])
    return matched


def hash_tensors(state: Mapping[str, torch.Tensor]) -> str:
    """Return the hex sha256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
