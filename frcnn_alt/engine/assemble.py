"""From the steps' files to one network: backbone, proposal generator and RoI heads, each of the step that trained it.

The result is one detectron2 state dict and a config that loads it, which plain ``DefaultPredictor`` runs (SPEC 6.3).
"""

import os
from typing import Dict, Mapping

import numpy as np
import torch
from detectron2.config import CfgNode

from ..checkpointing import pixels_of_config, read_checkpoint, select_components, write_checkpoint
from ..modeling.mean_image import read_mean_image
from ..safe_write import replacing
from .class_checks import record_of_classes
from .manifest import write_text
from .network import JOINT, configure_network
from .schedule import WholeNetwork

__all__ = ["MEAN_IMAGE_FILE", "assemble", "final_config"]

MEAN_IMAGE_FILE = "mean_image.npy"  # beside the final network, where the run subtracts one


def final_config(cfg: CfgNode, weights: str, network: str = JOINT) -> CfgNode:
    """Return the run's config with MODEL.WEIGHTS naming the final network (an absolute path).

    Where the run subtracts a mean image, MODEL.PIXEL_MEAN_IMAGE names the copy beside the network.

    Args:
        cfg: the run's config.
        weights: the final network's file.
        network: what it is, one of ``NETWORKS``.
    """
    final = cfg.clone()
    final.defrost()
    configure_network(final, network)
    final.MODEL.WEIGHTS = os.path.abspath(weights)
    if cfg.MODEL.PIXEL_MEAN_IMAGE:
        final.MODEL.PIXEL_MEAN_IMAGE = os.path.join(os.path.dirname(final.MODEL.WEIGHTS), MEAN_IMAGE_FILE)
    final.freeze()
    return final


def _copy_mean_image(cfg: CfgNode, path: str) -> None:
    """Write the run's mean image, in the order of INPUT.FORMAT, beside `path` and rename it into place."""
    mean_image = read_mean_image(cfg.MODEL.PIXEL_MEAN_IMAGE, cfg.INPUT.FORMAT)
    with replacing(path) as file:
        np.save(file, mean_image)


def _component(file: str, component: str, step: str) -> Dict[str, torch.Tensor]:
    """The tensors of `component` of the final network, under their names there, from the file of a step."""
    state = read_checkpoint(file)["model"]
    if isinstance(step, WholeNetwork):
        return {f"{component}.{name}": tensor for name, tensor in state.items()}
    return select_components(state, [component])


def assemble(
    cfg: CfgNode, assembly: Dict[str, str], files: Mapping[str, str], output_dir: str, network: str = JOINT
) -> str:
    """Put the final network together and write ``model_final.pth``, ``config.yaml`` and, if any, ``mean_image.npy``.

    Args:
        cfg: the run's config.
        assembly: component -> name of the step that gives it, as in a ``Schedule``.
        files: step name -> its weight file.
        output_dir: the run's folder.
        network: what the final network is, one of ``NETWORKS``.

    Returns:
        str: path of the weight file.

    Raises:
        ValueError: a step's file lacks its component; the mean image cannot be read.
        WriteError: a file cannot be written; those that were there are as before.
    """
    model = {}
    for component, step in assembly.items():
        tensors = _component(files[step], component, step)
        if not tensors:
            raise ValueError(f"{files[step]} holds no {component}: train {step} again.")
        model.update(tensors)
    weights = os.path.join(output_dir, "model_final.pth")
    final = final_config(cfg, weights, network)
    if cfg.MODEL.PIXEL_MEAN_IMAGE:
        _copy_mean_image(cfg, final.MODEL.PIXEL_MEAN_IMAGE)
    about = {"assembly": {component: str(step) for component, step in assembly.items()}, **pixels_of_config(final)}
    if "roi_heads" in assembly:
        about.update(record_of_classes(cfg))
    write_checkpoint({"model": model, "frcnn_alt": about}, weights)
    write_text(final.dump(), os.path.join(output_dir, "config.yaml"))
    return weights
