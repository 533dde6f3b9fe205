"""Loading a network that is to be whole: every tensor of the model comes from the file, or it is refused."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import nn

from .classes import check_classes
from .components import match_initial_weights
from .errors import CheckpointError
from .fit import fit_to_model
from .pixels import check_pixels
from .read import read_checkpoint

__all__ = ["load_whole_network", "match_whole_network"]


def match_whole_network(
    model: nn.Module, path: str, pixels: Mapping[str, Any], data_sets: Optional[Mapping[str, Sequence[str]]] = None
) -> Tuple[Dict[str, torch.Tensor], List[str]]:
    """Compare a trained network in a file with a model; nothing is copied.

    Args:
        model: may be on the "meta" device.
        path: any weight file that `read_checkpoint` reads.
        pixels: of `pixels_of_config`, what the model will be fed.
        data_sets: of `class_names_of`, on what it will be measured or trained. A model without "roi_heads" tells no
            classes apart.

    Returns:
        The file's tensors by the model's names, and the names of tensors and layers in the file that the model has no
        use for, sorted.

    Raises:
        CheckpointError: the file cannot be read, was trained on other pixels, remembers other classes, or is of another
            network.
    """
    checkpoint = read_checkpoint(path)
    if hasattr(model, "roi_heads"):
        check_classes(checkpoint.get("frcnn_alt", {}), data_sets or {}, path)
    checkpoint = fit_to_model(checkpoint, model)
    check_pixels(checkpoint.get("frcnn_alt", {}), pixels, path)
    state = checkpoint["model"]
    matched = match_initial_weights(model.state_dict(), {"": path}, lambda source: state)
    if matched.not_found:
        first, *others = matched.not_found[path]
        raise CheckpointError(f"{path} is no network of this config: it lacks {first} and {len(others)} more tensors.")
    unused = [*checkpoint.get("frcnn_alt", {}).get("not_used", ()), *(set(state) - set(matched.source))]
    return {name: state[name] for name in matched.source}, sorted(unused)


def load_whole_network(
    model: nn.Module, path: str, pixels: Mapping[str, Any], data_sets: Optional[Mapping[str, Sequence[str]]] = None
) -> List[str]:
    """Load a trained network, of which nothing may start new; arguments and errors as in `match_whole_network`.

    Returns:
        The names of tensors and layers in the file that the model has no use for, sorted.
    """
    state, unused = match_whole_network(model, path, pixels, data_sets)
    model.load_state_dict(state)
    return unused
