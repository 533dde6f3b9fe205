"""Where the time of one image goes in an R-CNN: every moment is charged to one of the parts of the paper's Table 5.

The parts are told by hooks on what every R-CNN of detectron2 has: `backbone`, `proposal_generator`, `roi_heads`. They
are there while one image is measured, look at nothing but the clock and the number of regions, and are gone afterwards.

    image_preparation   all before the backbone: reading, resizing, moving to the device, normalising
    conv                the backbone; of an ``UnsharedProposalGenerator`` its own one too
    proposals           the RPN's layers, decoding, NMS and selection
    region_wise         pooling, fc layers (masks, where there are any), softmax, the detector's NMS
    rest                what remains: detections put into the frame of the original image

A GPU works on while Python goes on. So it is waited for at every border of two parts, which makes the whole a little
slower than it is without borders: `time_whole` measures that.
"""

import contextlib
import functools
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import torch
from torch import nn

__all__ = ["PARTS", "Clock", "SplitTime", "is_split", "time_parts", "time_whole"]

PARTS = ("image_preparation", "conv", "proposals", "region_wise", "rest")

Clock = Callable[[], float]

_PART_OF = {"backbone": "conv", "proposal_generator": "proposals", "roi_heads": "region_wise"}


class SplitTime(NamedTuple):
    """What `time_parts` measured.

    Attributes:
        seconds: part -> seconds; None for a part that the model does not have. The others add up to the whole.
        regions: how many regions the RoI heads were given, over all images of the batch; None without RoI heads.
        output: what was returned by what was measured.
    """

    seconds: Dict[str, Optional[float]]
    regions: Optional[int]
    output: Any


def is_split(model: nn.Module) -> bool:
    """Whether `model` has the parts of an R-CNN: a backbone, and a proposal generator, RoI heads or both."""
    has = {name: isinstance(getattr(model, name, None), nn.Module) for name in _PART_OF}
    return has["backbone"] and (has["proposal_generator"] or has["roi_heads"])


def _waits_for(model: nn.Module) -> Callable[[], None]:
    """What returns once the device of `model` has done all that it was told to do."""
    device = torch.device(model.device)
    if device.type == "cuda":
        return functools.partial(torch.cuda.synchronize, device)
    return lambda: None  # a CPU has done it when the call returns


class _Borders:
    """Charges the time since the last border to the part that is left at this one; parts may lie in one another."""

    def __init__(self, clock: Clock, wait: Callable[[], None]):
        self.seconds: Dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.regions: Optional[int] = None
        self._clock, self._wait = clock, wait
        self._inside: List[str] = ["image_preparation"]
        wait()
        self._since = clock()

    def cross(self) -> None:
        self._wait()
        now = self._clock()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    def enter(self, part: str, module: nn.Module, inputs: Any) -> None:
        self.cross()
        if part == "conv":
            self._inside[0] = "rest"  # the image is prepared
        elif part == "region_wise" and len(inputs) > 2:  # (images, features, proposals, objects)
            self.regions = sum(map(len, inputs[2]))
        self._inside.append(part)

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.cross()
        self._inside.pop()


@contextlib.contextmanager
def _hooked(model: nn.Module, borders: _Borders) -> Iterator[None]:
    modules = [(getattr(model, name, None), part) for name, part in _PART_OF.items()]
    modules.append((getattr(getattr(model, "proposal_generator", None), "backbone", None), "conv"))  # unshared
    handles = []
    try:
        for module, part in modules:
            if isinstance(module, nn.Module):
                handles.append(module.register_forward_pre_hook(functools.partial(borders.enter, part)))
                handles.append(module.register_forward_hook(borders.leave))
        yield
    finally:
        for handle in handles:
            handle.remove()


def time_parts(model: nn.Module, run: Callable[[], Any], *, clock: Clock = time.perf_counter) -> SplitTime:
    """Call `run` and split the time that it takes; on CUDA the device is waited for at every border.

    Args:
        model: of detectron2 or of this package, for which `is_split`; not changed.
        run: prepares images and calls `model` with them, once.
        clock: seconds.

    Raises:
        ValueError: `model` has not the parts of an R-CNN.
    """
    if not is_split(model):
        raise ValueError(
            f"{type(model).__name__} is no R-CNN: it takes a backbone, and a proposal generator, RoI heads or both."
        )
    borders = _Borders(clock, _waits_for(model))
    with _hooked(model, borders):
        output = run()
        borders.cross()
    seconds: Dict[str, Optional[float]] = dict(borders.seconds)
    for name, part in _PART_OF.items():
        if getattr(model, name, None) is None:
            seconds[part] = None
    return SplitTime(seconds, borders.regions, output)


def time_whole(model: nn.Module, run: Callable[[], Any], *, clock: Clock = time.perf_counter) -> float:
    """Call `run` and return its seconds, without a hook; on CUDA the device is waited for before and after alone."""
    wait = _waits_for(model)
    wait()
    start = clock()
    run()
    wait()
    return clock() - start
