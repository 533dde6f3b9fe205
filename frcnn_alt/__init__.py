"""Faster R-CNN as it was really trained, as a detectron2 plugin.

``import frcnn_alt`` registers every component in detectron2's own registries; configs then name them.
"""

from .compat import setup_environment

setup_environment()  # before anything that imports detectron2

from . import checkpointing, data, engine, evaluation, modeling, proposals  # noqa: E402, F401
from .config import add_frcnn_alt_config, get_cfg  # noqa: E402

__version__ = "0.1.0"
__all__ = ["add_frcnn_alt_config", "get_cfg", "__version__"]
