"""The versions and the machine that a result was made with."""

import os
import platform
from typing import Any, Dict

import torch

__all__ = ["environment"]


def environment() -> Dict[str, Dict[str, Any]]:
    """Return "versions" (program -> version) and "machine" (platform, number of CPU cores, name of the GPU or None)."""
    import detectron2
    import torchvision

    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "detectron2": detectron2.__version__,
        },
        "machine": {
            "platform": platform.platform(),
            "cpu_cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }
