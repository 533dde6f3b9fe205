"""Splitting the time of one image, on models whose parts take known times by a clock that is wound by hand."""

from frcnn_alt.evaluation import PARTS, is_split, time_parts, time_whole

import pytest
import torch
from torch import nn


class HandClock:
    """Stands still but for what is added to it; a read of it is noted in `events`."""

    def __init__(self):
        self.now, self.events = 100.0, []

    def __call__(self):
        self.events.append("read")
        return self.now


class Part(nn.Module):
    """Takes `seconds`, and before that whatever is inside."""

    def __init__(self, clock, seconds, **inside):
        super().__init__()
        self.clock, self.seconds = clock, seconds
        for name, module in inside.items():
            setattr(self, name, module)

    def forward(self, *inputs):
        for module in self.children():
            module(*inputs)
        self.clock.now += self.seconds
        return inputs


class Network(nn.Module):
    """Prepares for 1 s, then runs its parts and post-processes for 16 s."""

    def __init__(self, clock, device="cpu", **parts):
        super().__init__()
        self.clock, self.device, self.parts = clock, torch.device(device), list(parts)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, regions):
        self.clock.now += 1
        for name in self.parts:
            part = getattr(self, name)
            if part is not None:
                part("images", "features", regions)
        self.clock.now += 16
        return "detections"


@pytest.fixture
def clock():
    return HandClock()


def network(clock, device="cpu"):
    parts = {"backbone": 2, "proposal_generator": 4, "roi_heads": 8}
    return Network(clock, device, **{name: Part(clock, seconds) for name, seconds in parts.items()})


def no_hooks(model):
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def run(model, clock, read=0.5):
    """Reads an image for `read` seconds, then runs `model` on 3 + 4 regions of two images."""

    def prepare_and_run():
        clock.now += read
        return model([[0] * 3, [0] * 4])

    return prepare_and_run


def test_every_second_is_charged_to_its_part(clock):
    model = network(clock)
    split = time_parts(model, run(model, clock), clock=clock)
    assert split.seconds == {"image_preparation": 1.5, "conv": 2, "proposals": 4, "region_wise": 8, "rest": 16}
    assert tuple(split.seconds) == PARTS
    assert (split.regions, split.output) == (7, "detections")
    assert no_hooks(model)
    assert time_whole(model, run(model, clock), clock=clock) == 31.5 == sum(split.seconds.values())


def test_second_backbone_of_an_unshared_generator_is_conv(clock):
    model = network(clock)
    model.proposal_generator = Part(clock, 4, backbone=Part(clock, 32), proposal_generator=Part(clock, 64))
    split = time_parts(model, run(model, clock), clock=clock)
    assert split.seconds == {"image_preparation": 1.5, "conv": 34, "proposals": 68, "region_wise": 8, "rest": 16}


@pytest.mark.parametrize("missing, part", [("proposal_generator", "proposals"), ("roi_heads", "region_wise")])
def test_part_that_is_not_there_has_no_time(clock, missing, part):
    model = network(clock)
    setattr(model, missing, None)
    split = time_parts(model, run(model, clock), clock=clock)
    assert split.seconds.pop(part) is None
    assert sum(split.seconds.values()) == 31.5 - getattr(network(clock), missing).seconds
    assert split.regions == (None if missing == "roi_heads" else 7)


def test_hooks_are_gone_after_an_error_too(clock):
    model = network(clock)
    own = model.backbone.register_forward_hook(lambda *_: None)

    def fail(*_):
        raise RuntimeError("out of memory")

    model.roi_heads.forward = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        time_parts(model, run(model, clock), clock=clock)
    assert list(model.backbone._forward_hooks) == [own.id]  # somebody else's stays
    own.remove()
    assert no_hooks(model)


def test_on_cuda_the_device_is_waited_for_at_every_border_and_then_the_clock_is_read(clock, monkeypatch):
    """What the GPU still has to do at a border belongs to the part before it."""
    model = network(clock, "cuda:1")
    left_to_do = []

    def synchronize(device):
        clock.events.append(str(device))
        clock.now += sum(left_to_do)
        left_to_do.clear()

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    model.backbone.register_forward_hook(lambda *_: left_to_do.append(1000))
    model.roi_heads.register_forward_hook(lambda *_: left_to_do.append(2000))
    left_to_do.append(5000)  # of whatever was before
    split = time_parts(model, run(model, clock), clock=clock)
    assert split.seconds == {"image_preparation": 1.5, "conv": 1002, "proposals": 4, "region_wise": 2008, "rest": 16}
    assert clock.events == ["cuda:1", "read"] * 8  # the start, in and out of three parts, the end

    clock.events.clear()
    left_to_do.append(5000)
    assert time_whole(model, run(model, clock), clock=clock) == 3031.5
    assert clock.events == ["cuda:1", "read"] * 2


def test_a_cpu_is_not_waited_for(clock, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("there is nothing to wait for"))
    model = network(clock)
    time_parts(model, run(model, clock), clock=clock)
    time_whole(model, run(model, clock), clock=clock)


@pytest.mark.parametrize("parts", [{}, {"backbone": 1}, {"roi_heads": 1}, {"backbone": 1, "head": 1}])
def test_what_is_no_rcnn_is_refused(clock, parts):
    model = Network(clock, **{name: Part(clock, seconds) for name, seconds in parts.items()})
    assert not is_split(model)
    with pytest.raises(ValueError, match="Network is no R-CNN"):
        time_parts(model, run(model, clock), clock=clock)
