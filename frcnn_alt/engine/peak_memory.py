"""How much memory a step took at most: of the GPU, or of the process where there is none."""

import contextlib
from typing import Iterator, Optional

import torch

__all__ = ["PeakMemory"]


class PeakMemory:
    """The largest amount of memory that was in use since this was made.

    On a GPU what torch allocated there; on the CPU the resident memory of this process, without its loader workers.
    Linux counts the latter anew when asked to; where it cannot be, it is that since the process began.

    Args:
        device: "cuda", "cuda:1", "cpu".
    """

    def __init__(self, device: str):
        self._device: Optional[torch.device] = torch.device(device) if device.startswith("cuda") else None
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # forget the high-water mark

    def mebibytes(self) -> Optional[int]:
        """The peak so far, in MiB; None where it is not known."""
        if self._device is not None:
            return torch.cuda.max_memory_allocated(self._device) >> 20
        return next(_high_water_marks(), None)


def _high_water_marks() -> Iterator[int]:
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                yield int(line.split()[1]) >> 10
