"""Several systems by turns: medians, quartiles, what is not counted, and times measured elsewhere."""

from frcnn_alt.evaluation import PARTS, TimedSystem, measure_parts

import numpy as np
import pytest
import torch
from torch import nn

COLUMNS = (*PARTS, "total", "whole")


class Waits(nn.Module):
    def __init__(self, take, part):
        super().__init__()
        self.take, self.part = take, part

    def forward(self, *inputs):
        self.take(self.part)
        return inputs


class Scripted(nn.Module):
    """A network whose parts take what `seconds[image][run of it]` says; the order of runs is noted in `diary`."""

    def __init__(self, name, seconds, diary, generator=True):
        super().__init__()
        self.name, self.seconds, self.diary, self.now, self.runs = name, seconds, diary, 0.0, {}
        self.device = torch.device("cpu")
        self.backbone, self.roi_heads = Waits(self.take, "conv"), Waits(self.take, "region_wise")
        self.proposal_generator = Waits(self.take, "proposals") if generator else None

    def take(self, part):
        self.now += self.current[PARTS.index(part)]

    def forward(self, inputs):
        image = inputs[0]["image_id"]
        run = self.runs[image] = self.runs.get(image, -1) + 1
        assert not self.training and not torch.is_grad_enabled()
        hooked = bool(self.backbone._forward_hooks)
        self.diary.append((self.name, image, "split" if hooked else "whole"))
        self.current = self.seconds[image][run]
        self.take("image_preparation")
        self.backbone(image)
        if self.proposal_generator is not None:
            self.proposal_generator(image)
        self.roi_heads("images", "features", [[0] * (10 + image)])
        self.take("rest")
        return [{"instances": [0] * (20 + image)}]


def system(name, seconds, diary, generator=True, **others):
    model = Scripted(name, seconds, diary, generator).train()
    records = [{"image_id": image} for image in range(len(seconds))]
    return TimedSystem(name, model, lambda record: dict(record), records, **others)


def clock_of(*systems):
    return lambda: sum(one.model.now for one in systems)


def test_medians_and_quartiles_against_plain_ones():
    rng = np.random.default_rng(0)
    images, repetitions, warm_up = 5, 3, 7
    # Runs of an image: those of the warm-up, then two a repetition.
    seconds = rng.uniform(0.1, 5, (images, 2 * repetitions + 2, len(PARTS)))
    diary = []
    one = system("one", seconds, diary)
    (times,) = measure_parts([one], repetitions=repetitions, warm_up=warm_up, clock=clock_of(one))

    table = np.zeros((images, len(COLUMNS)))
    for image in range(images):
        runs = iter(seconds[image, 2 if image < warm_up - images else 1 :])
        rows = []
        for repetition in range(repetitions):
            first, second = next(runs), next(runs)
            split, whole = (first, second) if (image + repetition) % 2 == 0 else (second, first)
            rows.append([*split, sum(split), sum(whole)])
        table[image] = [sorted(column)[repetitions // 2] for column in zip(*rows)]
    table = np.sort(1000 * table, axis=0)  # of five values, the quartiles and the median are the second to the fourth
    for index, name in enumerate(COLUMNS):
        assert times.milliseconds[name] == pytest.approx(table[2, index])
        assert times.spread[name] == pytest.approx((table[1, index], table[3, index]))
    assert (times.name, times.images, times.repetitions) == ("one", images, repetitions)
    assert (times.regions, times.detections) == (12, 22)
    assert diary[:warm_up] == [("one", image, "whole") for image in (0, 1, 2, 3, 4, 0, 1)]
    assert one.model.training  # as it was


def test_systems_take_turns_and_split_and_whole_alternate():
    diary = []
    systems = [system(name, np.ones((2, 6, len(PARTS))), diary) for name in "ab"]
    measure_parts(systems, repetitions=2, warm_up=1, clock=clock_of(*systems))
    expected = [("a", 0, "whole"), ("b", 0, "whole")]  # warm-up
    for repetition in range(2):
        for name in "ab":
            for image in range(2):
                kinds = ["split", "whole"] if (image + repetition) % 2 == 0 else ["whole", "split"]
                expected += [(name, image, kind) for kind in kinds]
    assert diary == expected


def test_parts_of_each_image_add_up():
    rng = np.random.default_rng(1)
    one = system("one", rng.uniform(0.1, 5, (1, 2, len(PARTS))), [])
    (times,) = measure_parts([one], repetitions=1, warm_up=0, clock=clock_of(one))
    assert sum(times.milliseconds[part] for part in PARTS) == pytest.approx(times.milliseconds["total"])


@pytest.mark.parametrize("external, proposals, total", [(None, None, 4000), (1510.0, 1510, 5510)])
def test_proposals_made_elsewhere(external, proposals, total):
    one = system("one", np.ones((2, 4, len(PARTS))), [], generator=False, external_proposals=external)
    (times,) = measure_parts([one], repetitions=2, warm_up=0, clock=clock_of(one))
    assert times.milliseconds["proposals"] == (None if proposals is None else pytest.approx(proposals))
    assert times.milliseconds["total"] == times.milliseconds["whole"] == pytest.approx(total)
    assert (times.spread["proposals"] is None) == (external is None)


def test_a_time_from_elsewhere_does_not_replace_one_that_was_measured():
    one = system("one", np.ones((1, 2, len(PARTS))), [], external_proposals=1510.0)
    (times,) = measure_parts([one], repetitions=1, warm_up=0, clock=clock_of(one))
    assert times.milliseconds["proposals"] == 1000 and times.milliseconds["whole"] == 5000


def test_nothing_to_measure():
    one = system("one", np.ones((1, 2, len(PARTS))), [])
    with pytest.raises(ValueError, match="nothing to measure"):
        measure_parts([one], repetitions=0)
    with pytest.raises(ValueError, match="nothing to measure"):
        measure_parts([one, system("two", [], [])])
