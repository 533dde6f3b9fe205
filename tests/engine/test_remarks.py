"""What a plan remarks: what is not found, not used, or without effect; measured buffers are no news."""

from frcnn_alt.engine.remarks import init_without_effect, remarks_on_not_found, remarks_on_not_used
from frcnn_alt.engine.step import FAST_RCNN, Step

import pytest


def test_what_starts_new_is_shown_in_part():
    names = [f"a.{letter}" for letter in "uvwxyz"] + ["a.running_mean", "a.std", "a.num_batches_tracked"]
    assert remarks_on_not_found("step2", {"weights": names, "step1": ["b.running_var"]}) == [
        "step2: not in weights, so they start new: a.u, a.v, a.w, a.x and 2 more."
    ]


@pytest.mark.parametrize("guessed", [False, True])
def test_what_is_not_used(guessed):
    """Of a file whose names are guessed the names do not tell which tensors were used."""
    checkpoint = {"model": dict.fromkeys(["a.weight", "b.weight", "b.mean"]), "frcnn_alt": {"not_used": ["fc8"]}}
    checkpoint["matching_heuristics"] = guessed
    expected = [] if guessed else ["No step starts from these of x.pth: fc8, b."]
    assert remarks_on_not_used("x.pth", checkpoint, {"a.weight"}) == expected
    assert remarks_on_not_used("x.pth", {"model": {"a.weight": None}}, {"a.weight"}) == []


def test_a_source_for_what_the_network_has_not():
    init = {"backbone": "weights", "roi_heads": "weights", "roi_heads.box_predictor": "new"}
    step = Step("two", FAST_RCNN, "STEP2", init, ("roi_heads",), proposals_from="one")
    names = ["backbone.conv1.weight", "roi_heads.box_head.weight", "roi_heads.box_predictor_of_mine.weight"]
    (remark,) = init_without_effect(step, names)
    assert remark.startswith("two: roi_heads.box_predictor is to start from new, but its network has none")
