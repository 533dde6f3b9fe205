"""On what something was run: the machine and the versions, as manifests and benchmarks write them down."""

import os
import platform
from typing import Any, Dict, Optional

import torch

__all__ = ["describe_machine", "describe_versions", "load_average"]


def describe_versions() -> Dict[str, str]:
    """Return the version of Python and of each package that decides what is computed and how fast."""
    import detectron2
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "detectron2": detectron2.__version__,
    }


def _cpu_name() -> Optional[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or None


def describe_machine() -> Dict[str, Any]:
    """Return platform, CPU (None where the system does not tell), its cores, torch's threads, and GPU or None."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def load_average() -> Optional[float]:
    """Return how many processes ran or waited to, on average over the last minute; None where no system tells."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
