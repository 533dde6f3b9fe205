"""From the steps' files to one network: backbone, proposal generator and RoI heads, each of the step that trained it.

The result is one detectron2 state dict and a config that loads it, which plain ``DefaultPredictor`` runs (SPEC 6.3).
"""

import os
from typing import Dict, Mapping

import numpy as np
from detectron2.config import CfgNode

from ..checkpointing import pixels_of_config, read_checkpoint, select_components, write_checkpoint
from ..modeling.mean_image import read_mean_image
from .manifest import write_text

__all__ = ["MEAN_IMAGE_FILE", "assemble", "final_config"]

MEAN_IMAGE_FILE = "mean_image.npy"  # beside the final network, where the run subtracts one


def final_config(cfg: CfgNode, weights: str) -> CfgNode:
    """Return the run's config with MODEL.WEIGHTS naming the final network (an absolute path).

    Where the run subtracts a mean image, MODEL.PIXEL_MEAN_IMAGE names the copy beside the network.
    """
    final = cfg.clone()
    final.defrost()
    final.MODEL.WEIGHTS = os.path.abspath(weights)
    if cfg.MODEL.PIXEL_MEAN_IMAGE:
        final.MODEL.PIXEL_MEAN_IMAGE = os.path.join(os.path.dirname(final.MODEL.WEIGHTS), MEAN_IMAGE_FILE)
    final.freeze()
    return final


def _copy_mean_image(cfg: CfgNode, path: str) -> None:
    """Write the run's mean image, in the order of INPUT.FORMAT, beside `path` and rename it into place."""
    beside = f"{path}.partial"
    with open(beside, "wb") as file:
        np.save(file, read_mean_image(cfg.MODEL.PIXEL_MEAN_IMAGE, cfg.INPUT.FORMAT))
    os.replace(beside, path)


def assemble(cfg: CfgNode, assembly: Dict[str, str], files: Mapping[str, str], output_dir: str) -> str:
    """Put the final network together and write ``model_final.pth``, ``config.yaml`` and, if any, ``mean_image.npy``.

    Args:
        cfg: the run's config.
        assembly: component -> name of the step that gives it.
        files: step name -> its weight file.
        output_dir: the run's folder.

    Returns:
        str: path of the weight file.

    Raises:
        ValueError: a step's file lacks its component; the mean image cannot be read.
    """
    model = {}
    for component, step in assembly.items():
        tensors = select_components(read_checkpoint(files[step])["model"], [component])
        if not tensors:
            raise ValueError(f"{files[step]} holds no {component}: train {step} again.")
        model.update(tensors)
    weights = os.path.join(output_dir, "model_final.pth")
    final = final_config(cfg, weights)
    if cfg.MODEL.PIXEL_MEAN_IMAGE:
        _copy_mean_image(cfg, final.MODEL.PIXEL_MEAN_IMAGE)
    about = {"assembly": dict(assembly), **pixels_of_config(final)}
    write_checkpoint({"model": model, "frcnn_alt": about}, weights)
    write_text(final.dump(), os.path.join(output_dir, "config.yaml"))
    return weights
