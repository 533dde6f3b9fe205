"""The fuzzer itself: its seeds are sound, what it makes is the same again, and it sees what is no room's own error."""

import random

import pytest
from scripts import REPOSITORY, load_script

FAST = ["proposal_set", "caffemodel", "voc_annotation", "voc_split", "coco_json", "manifest", "detections"]
FAST += ["pickled_checkpoint", "pickled_proposals", "mean_image"]


def _benchmark(name):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))  # as for a script that is run
        return load_script(f"benchmarks/{name}.py")


@pytest.fixture(scope="module")
def fuzz():
    return _benchmark("fuzz")


@pytest.fixture(scope="module")
def fuzz_targets():
    pytest.importorskip("scipy.io", reason="seed files are written by scipy")
    return _benchmark("fuzz_targets")


@pytest.mark.parametrize("name", FAST)
def test_seeds_are_read_and_what_becomes_of_them_is_read_or_refused(name, fuzz, fuzz_targets, tmp_path):
    target = fuzz_targets.targets()[name]
    session = fuzz.Session(target, tmp_path, tmp_path / "failures", fuzz_targets.ACCEPTED)
    for seed in target.seeds:
        session.run_one(seed)  # raises nothing
    draw = random.Random(0)
    for _ in range(60):
        session.run(fuzz.mutate(draw.choice(target.seeds), target.seeds, target.words, draw))
    assert session.found == {} and session.inputs == 60


def test_inputs_are_those_of_the_seed(fuzz):
    def inputs(seed):
        draw = random.Random(seed)
        return [fuzz.mutate(b"0123456789" * 9, [b"abc"], [b"word"], draw) for _ in range(200)]

    assert inputs(1) == inputs(1) != inputs(2)
    assert len(set(inputs(1))) > 150


def test_failures_are_told_apart_and_kept(fuzz, tmp_path):
    class Broken:
        name, seeds, words = "broken", [b"a"], []

        @staticmethod
        def make(folder):
            return lambda data: [1][len(data)] if data else {}["x"]

    session = fuzz.Session(Broken, tmp_path, tmp_path / "failures", (ValueError,))
    for data in (b"aaa", b"a", b"", b"aa"):
        session.run(data)
    summary = session.summary()
    assert (summary["inputs"], summary["read"], summary["refused"]) == (4, 0, 0)
    assert sorted(what.split()[0] for what in summary["failures"]) == ["IndexError", "KeyError"]
    assert (tmp_path / "failures" / "0").read_bytes() == b"a"  # the smallest
