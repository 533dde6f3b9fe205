"""From the steps' files to one network: backbone, proposal generator and RoI heads, each of the step that trained it.

The result is one detectron2 state dict and a config that loads it, which plain ``DefaultPredictor`` runs (SPEC 6.3).
"""

import os
from typing import Dict, Mapping

from detectron2.config import CfgNode

from ..checkpointing import read_checkpoint, select_components, write_checkpoint
from .manifest import write_text

__all__ = ["assemble", "final_config"]


def final_config(cfg: CfgNode, weights: str) -> CfgNode:
    """Return the run's config with MODEL.WEIGHTS naming the final network (an absolute path)."""
    final = cfg.clone()
    final.defrost()
    final.MODEL.WEIGHTS = os.path.abspath(weights)
    final.freeze()
    return final


def assemble(cfg: CfgNode, assembly: Dict[str, str], files: Mapping[str, str], output_dir: str) -> str:
    """Put the final network together and write ``model_final.pth`` and ``config.yaml``.

    Args:
        cfg: the run's config.
        assembly: component -> name of the step that gives it.
        files: step name -> its weight file.
        output_dir: the run's folder.

    Returns:
        str: path of the weight file.

    Raises:
        ValueError: a step's file lacks its component.
    """
    model = {}
    for component, step in assembly.items():
        tensors = select_components(read_checkpoint(files[step])["model"], [component])
        if not tensors:
            raise ValueError(f"{files[step]} holds no {component}: train {step} again.")
        model.update(tensors)
    weights = os.path.join(output_dir, "model_final.pth")
    final = final_config(cfg, weights)
    pixels = {
        "input_format": final.INPUT.FORMAT,
        "pixel_mean": final.MODEL.PIXEL_MEAN,
        "pixel_std": final.MODEL.PIXEL_STD,
    }
    write_checkpoint({"model": model, "frcnn_alt": {"assembly": dict(assembly), **pixels}}, weights)
    write_text(final.dump(), os.path.join(output_dir, "config.yaml"))
    return weights
